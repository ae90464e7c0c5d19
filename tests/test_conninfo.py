"""Connection strings, compared with libpq's own parser where it can be asked."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given, settings, strategies as st
from psycopg import OperationalError, pq

from pgwire.conninfo import conninfo_to_dict, make_conninfo
from pgwire.errors import ProgrammingError
from pgwire.parameters import PARAMETERS
from tests.support.leaks import all_that_shows

# --- URIs ---


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("postgresql://", {}),
        ("postgres://", {}),
        ("postgres:///", {}),
        ("postgres:///db", {"dbname": "db"}),
        ("postgresql://host", {"host": "host"}),
        ("postgresql://host/", {"host": "host"}),
        ("postgresql://host?", {"host": "host"}),
        ("postgresql://host:12345/db", {"host": "host", "port": "12345", "dbname": "db"}),
        ("postgresql://me@", {"user": "me"}),
        ("postgres://me@/db", {"user": "me", "dbname": "db"}),
        ("postgres://@host", {"host": "host"}),
        ("postgresql://me:@host", {"user": "me", "host": "host"}),
        ("postgresql://:pw@host", {"password": "pw", "host": "host"}),
        (
            "postgresql://me:pw@host:1/db",
            {"user": "me", "password": "pw", "host": "host", "port": "1", "dbname": "db"},
        ),
    ],
)
def test_parts_of_a_uri(uri: str, wanted: dict[str, str]) -> None:
    assert conninfo_to_dict(uri) == wanted


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("postgres://u:p@q@h", {"user": "u", "password": "p", "host": "q@h"}),
        ("postgres://u:p:q@h", {"user": "u", "password": "p:q", "host": "h"}),
        ("postgres://u:p?q@h", {"user": "u", "password": "p?q", "host": "h"}),
        ("postgres://u:p/q@h/db", {"host": "u", "port": "p", "dbname": "q@h/db"}),
        ("postgres://u:p%2Fq%40@h", {"user": "u", "password": "p/q@", "host": "h"}),
    ],
)
def test_user_info_ends_at_the_first_at_sign_before_a_slash(
    uri: str, wanted: dict[str, str]
) -> None:
    assert conninfo_to_dict(uri) == wanted


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("postgres://a,b", {"host": "a,b", "port": ","}),
        ("postgres://a,b:2,c", {"host": "a,b,c", "port": ",2,"}),
        ("postgres://a:1,:2/db", {"host": "a,", "port": "1,2", "dbname": "db"}),
        ("postgres://,", {"host": ",", "port": ","}),
        ("postgres://host:/", {"host": "host"}),
        ("postgres://:12345/", {"port": "12345"}),
        ("postgres://h:abc", {"host": "h", "port": "abc"}),
        ("postgres://[::1]:1/db", {"host": "::1", "port": "1", "dbname": "db"}),
        ("postgres://[::1],[::2]:2", {"host": "::1,::2", "port": ",2"}),
        ("postgres://[200z:db8::1234]/", {"host": "200z:db8::1234"}),
        ("postgres://%2Fvar%2Flib/db", {"host": "/var/lib", "dbname": "db"}),
        ("postgres://me@:1?host=/tmp", {"user": "me", "port": "1", "host": "/tmp"}),
    ],
)
def test_hosts_and_ports_stay_aligned(uri: str, wanted: dict[str, str]) -> None:
    assert conninfo_to_dict(uri) == wanted


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("postgres://?hostaddr=127.0.0.1", {"hostaddr": "127.0.0.1"}),
        ("postgres://h?u%73er=me&", {"host": "h", "user": "me"}),
        ("postgres://a?host=b", {"host": "b"}),
        ("postgres://?user=a&user=b", {"user": "b"}),
        ("postgres://h?  user = me & port  = 1 ", {"host": "h", "user": "me", "port": "1"}),
        ("postgres://?user=%20a%20", {"user": " a "}),
        ("postgres://?user=a+b", {"user": "a+b"}),
        ("postgres://?user=", {"user": ""}),
        ("postgres://?user=%C3%A9%e2%82%ac", {"user": "é€"}),
        ("postgres://h/a/b#c", {"host": "h", "dbname": "a/b#c"}),
        ("postgres://?ssl=true", {"sslmode": "require"}),
        ("postgres://?requiressl=1", {"sslmode": "require"}),
        ("postgres://?sslmode=bogus", {"sslmode": "bogus"}),
        (
            "postgres:///postgres%3A%2F%2Fevil%3Fsslmode=disable",
            {"dbname": "postgres://evil?sslmode=disable"},
        ),
    ],
)
def test_query_parameters_and_decoding(uri: str, wanted: dict[str, str]) -> None:
    assert conninfo_to_dict(uri) == wanted


@pytest.mark.parametrize(
    ("uri", "position", "reason"),
    [
        ("postgre://", 1, 'a URI begins with "postgresql://"'),
        ("POSTGRES://h", 1, 'a URI begins with "postgresql://"'),
        ("postgresql+psycopg://h/d?sslmode=require", 1, 'a URI begins with "postgresql://"'),
        ("jdbc:postgresql://h/d", 1, 'a URI begins with "postgresql://"'),
        (" postgresql://h/d", 2, "and nothing before"),
        ("postgres://[::1", 12, 'not closed by "]"'),
        ("postgres://[]", 12, "IPv6 address is empty"),
        ("postgres://[::1]z", 17, "is expected"),
        ("postgres://h?zzz", 14, 'has no "="'),
        ("postgres://h?&user=a", 14, 'has no "="'),
        ("postgres://h?user=a&&port=1", 21, 'has no "="'),
        ("postgres://h?user=a=b", 14, 'more than one "="'),
        ("postgres://h?dbname=%XXfoo", 21, "two hexadecimal digits"),
        ("postgres://%1", 12, "two hexadecimal digits"),
        ("postgres://%", 12, "two hexadecimal digits"),
        ("postgres://a%00b", 12, "%00"),
        ("postgres://h?port = 1 2", 20, "%20"),
        ("postgres://u ser@h", 12, "%20"),
        ("postgres://u%ff@h", 12, "UTF-8"),
        ("postgres://h?ssl=false", 14, "unknown parameter 'ssl'"),
        ("postgres://h?USER=a", 14, "did you mean 'user'?"),
        ("postgres://h?u%7aer=a", 14, "unknown parameter 'uzer'; did you mean 'user'?"),
    ],
)
def test_uris_that_cannot_be_read(uri: str, position: int, reason: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        conninfo_to_dict(uri)
    assert str(caught.value).startswith(f"connection string, position {position}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["localhost", "db:5432/shop", "//db/shop", "h p"])
def test_what_is_neither_notation_is_told_of_both(text: str) -> None:
    with pytest.raises(ProgrammingError, match="write host=… dbname=…, or a URI: postgresql://…"):
        conninfo_to_dict(text)


# --- keyword=value ---


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", {}),
        (" \t\n", {}),
        ("host=h user=me", {"host": "h", "user": "me"}),
        (" host = h \n user\t=\tme ", {"host": "h", "user": "me"}),
        ("host= user=me", {"host": "user=me"}),
        ("host=", {"host": ""}),
        ("user=a user=b", {"user": "b"}),
        ("user=a=b", {"user": "a=b"}),
        ("user='a b'", {"user": "a b"}),
        ("user=''", {"user": ""}),
        ("user='a'port=1", {"user": "a", "port": "1"}),
        (r"user='it\'s \\ \a'", {"user": r"it's \ a"}),
        (r"user=it\'s\ \\", {"user": "it's \\"}),
        ("user=a\\", {"user": "a"}),
        ("user=a'b", {"user": "a'b"}),
        ("user='a\nb'", {"user": "a\nb"}),
        ("user=a\xa0b", {"user": "a\xa0b"}),
        ("requiressl=1", {"sslmode": "require"}),
        ("requiressl=0", {"sslmode": "prefer"}),
        ("dbname=postgres://evil?sslmode=disable", {"dbname": "postgres://evil?sslmode=disable"}),
        ("dbname='host=evil'", {"dbname": "host=evil"}),
    ],
)
def test_keywords_and_values(text: str, wanted: dict[str, str]) -> None:
    assert conninfo_to_dict(text) == wanted


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("host", 1, 'not followed by "="'),
        ("host=h user", 8, 'not followed by "="'),
        ("host h=1", 1, 'not followed by "="'),
        ("host=h user='a", 13, "quote is not closed"),
        ("user='a\\'", 6, "quote is not closed"),
        ("=x", 1, "unknown parameter"),
        ("host=h uzer=me", 8, "unknown parameter 'uzer'; did you mean 'user'?"),
        ("User=me", 1, "unknown parameter 'User'; did you mean 'user'?"),
        ("quux=1", 1, "unknown parameter 'quux'"),
        ("database=x", 1, "unknown parameter 'database'; did you mean 'dbname'?"),
        ("secure=1", 1, "'secure' is a keyword argument only"),
        ("search_path=x", 1, "options or settings"),
    ],
)
def test_keyword_strings_that_cannot_be_read(text: str, position: int, reason: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        conninfo_to_dict(text)
    assert str(caught.value).startswith(f"connection string, position {position}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["user=a\0b", "postgres://h\0", "\0", "user=\ud800"])
def test_text_that_cannot_be_sent_is_refused(text: str) -> None:
    with pytest.raises(ProgrammingError, match="the connection string"):
        conninfo_to_dict(text)


def test_a_conninfo_that_is_no_str_is_refused() -> None:
    with pytest.raises(ProgrammingError, match="not dict; pass its items as keyword arguments"):
        conninfo_to_dict({"host": "h"})  # type: ignore[arg-type]
    with pytest.raises(ProgrammingError, match=r"must be a str, not bytes$"):
        conninfo_to_dict(b"host=h")  # type: ignore[arg-type]


# --- secrets ---

MARKER = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"password={MARKER} {MARKER}=x",
        f"password=a {MARKER}=x",
        f"password=a {MARKER}",
        f"host= password=a {MARKER}=x",  # by the grammar that is the host
        f"host='h password=' {MARKER}=x",
        f"password='{MARKER}",
        f"password='a'{MARKER}=b",
        f"user=u password=a host=h {MARKER}=x",
        f"me:{MARKER}@host/db?sslmode=require",
        f"postgres://u:{MARKER}%@h",
        f"postgres://u:{MARKER} x@h",
        f"postgres://u:{MARKER}%ff@h",
        f"postgres://u:{MARKER}%00@h",
        f"postgres://u:p/x?{MARKER}=y@h/db",
        f"postgres://u:p/x?user=%{MARKER}@h/db",
        f"postgres://u:{MARKER}@h?zzz=1",
        f"postgres://h?password=a&{MARKER}=b",
        f"postgres://h?password=a&{MARKER}",
        f"postgres://h?password={MARKER}=b",
        f"postgres://h?{MARKER}:x=b",
        f"postgres://u:{MARKER}@[::1",
        f"password={MARKER}\0",
        f"password={MARKER}\ud800",
    ],
)
def test_no_piece_of_a_secret_shows_in_the_error(text: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        conninfo_to_dict(text)
    assert MARKER not in all_that_shows(caught.value)


def test_make_conninfo_shows_no_secret_in_its_errors() -> None:
    with pytest.raises(ProgrammingError) as caught:
        make_conninfo(password=MARKER, uzer="x")
    assert MARKER not in all_that_shows(caught.value)


# --- writing ---


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, ""),
        ({"host": "h", "port": "1"}, "host=h port=1"),
        ({"user": ""}, "user=''"),
        ({"user": "a b"}, "user='a b'"),
        ({"user": "it's \\"}, r"user='it\'s \\'"),
        ({"user": "a=b"}, "user=a=b"),
    ],
)
def test_make_conninfo_quotes_where_it_must(params: dict[str, str], wanted: str) -> None:
    assert make_conninfo(**params) == wanted


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"uzer": "x"}, "'uzer'; did you mean 'user'?"),
        ({"requiressl": "1"}, "unknown connection parameter"),
        ({"user": "a\0"}, "user must not contain NUL"),
        ({"port": 5432}, "port must be a str, not int"),
    ],
)
def test_make_conninfo_refuses(params: dict[str, str], reason: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        make_conninfo(**params)
    assert reason in str(caught.value)


SENDABLE = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@given(st.dictionaries(st.sampled_from(sorted(PARAMETERS)), SENDABLE))
@example({"user": "'", "password": "\\", "dbname": " \t\n\v\f\r"})
def test_what_make_conninfo_writes_reads_back(params: dict[str, str]) -> None:
    assert conninfo_to_dict(make_conninfo(**params)) == params


# --- libpq ---


def as_libpq_reads(text: str) -> dict[str, str] | None:
    """What libpq's parser makes of the string; None where it refuses it."""
    try:
        options = pq.Conninfo.parse(text.encode())
    except OperationalError:
        return None
    return {o.keyword.decode(): o.val.decode() for o in options if o.val is not None}


def as_we_read(text: str) -> dict[str, str] | None:
    try:
        return conninfo_to_dict(text)
    except ProgrammingError:
        return None


NAMES = ["user", "password", "host", "port", "dbname", "sslmode", "ssl", "requiressl", "uzer"]
PIECES = [*NAMES, *"==&&?/:@,[] '\\\t\n\v\x1cab1é+#%", "true", "%20", "%41", "%zz", "%00", "%c3%a9"]
SOUP = st.lists(st.sampled_from(PIECES), max_size=16).map("".join)
PAIRS = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["=", " = ", "= "]),
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
).map("".join)


@settings(max_examples=400)
@given(
    st.one_of(
        SOUP,
        st.lists(PAIRS, max_size=4).map(" ".join),
        st.tuples(st.sampled_from(["postgresql://", "postgres://"]), SOUP).map("".join),
        st.tuples(st.just("postgres://u:p@h:1/db?"), st.lists(PAIRS, max_size=4).map("&".join)).map(
            "".join
        ),
    )
)
def test_strings_mean_what_libpq_makes_of_them(text: str) -> None:
    # libpq takes any bytes, which is of no use in str: test_uris_that_cannot_be_read has a case.
    assume(not re.search("%[89A-Fa-f]", text.replace("%c3%a9", "")))
    assert as_we_read(text) == as_libpq_reads(text)


def test_every_parameter_of_libpq_is_known() -> None:
    libpq = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    assert PARAMETERS.keys() - {"servicefile", "oauth_ca_file"} == libpq
