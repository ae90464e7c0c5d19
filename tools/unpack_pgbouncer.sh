#!/bin/sh
# Unpacks the PgBouncer of Debian 13 below .venv, for tests with prepared statements (1.21 and
# later) where the machine's own is older: tools/unpack_pgbouncer.sh FOLDER
#
# Its package cannot be installed on an older Debian, whose libraries it cannot use. So all that it
# needs is unpacked beside it, the C library too, and it is started by the loader that belongs to
# that. Nothing of the machine changes, and nobody has to be root.
#
# Where packages come from, and whose signature they bear, is what the machine's own sources say,
# with another suite. apt checks the signatures.
set -eu

suite=trixie
case $1 in
/*) folder=$1 ;;
*) folder=$PWD/$1 ;;
esac
program=usr/sbin/pgbouncer

[ ! -x "$folder/$program" ] || exit 0

fail() {
    echo "$*" >&2
    exit 1
}

command -v apt-get >/dev/null || fail "there is no apt-get"
own_suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
if [ -z "$own_suite" ] || ! grep -qx 'ID=debian' /etc/os-release; then
    fail "this is no release of Debian"
fi

rm -rf "$folder" "$folder.new"
mkdir -p "$folder.new/sources" "$folder.new/lists/partial" "$folder.new/cache/archives/partial" \
    "$folder.new/root"
cd "$folder.new"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    [ ! -e "$list" ] || sed "s/\b$own_suite\b/$suite/g" "$list" >"sources/own.${list##*.}"
done

# Debian's packages alone, with no other installed, and nothing that is not signed.
apt() {
    apt-get -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$PWD/sources" \
        -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD/cache" \
        -o Dir::State::Status=/dev/null -o APT::Update::Error-Mode=any -o APT::Sandbox::User= \
        -o Acquire::AllowInsecureRepositories=false -o Debug::NoLocking=true "$@"
}
apt update

# What its program is linked with: libraries alone, and none of what sees to a system.
packages=$(apt install -s --no-install-recommends pgbouncer |
    sed -n 's/^Inst \(lib[^ ]*\|pgbouncer\) .*/\1/p' | grep -v 'perl\|^libc-\|^libtext\|-modules')
apt download $packages # one word each
for package in *.deb; do
    dpkg-deb -x "$package" root
done

cd root
loader=$(find usr/lib -name 'ld-linux*.so.*' -type f)
[ -n "$loader" ] || fail "the packages hold no loader"
mv "$program" "$program.real"
cat >"$program" <<END
#!/bin/sh
root=\${0%/$program}
exec "\$root/$loader" --library-path "\$root/${loader%/*}" --argv0 "\$0" "\$0.real" "\$@"
END
chmod 755 "$program"
rm -rf usr/share etc
chmod -R a+rX .
"$PWD/$program" --version
cd /
mv "$folder.new/root" "$folder"
rm -rf "$folder.new"
