#!/bin/sh
# Install the real programs that some tests run (servers and their clients, m4, the shells of the
# completions), where that is possible: as root, with apt-get. Where it is not, those tests skip
# themselves and say why, so this never fails.
set -u

# Each as BINARY or BINARY:PACKAGE.
programs='nginx redis-server postgres:postgresql m4 zsh fish git curl rsync sshd:openssh-server
micro-httpd in.tftpd:tftpd-hpa tftp:tftp-hpa uuidd:uuid-runtime socat haproxy tini dumb-init'
PATH=$PATH:/usr/sbin:/sbin

has() {
    command -v "$1" >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/"$1" >/dev/null 2>&1
}

# sysvinit's telinit and shutdown are run, but never installed: they are unpacked beside the tests.
sysvinit=${XDG_CACHE_HOME:-$HOME/.cache}/piesd-tests/sysvinit
if [ ! -x "$sysvinit/sbin/telinit" ] && command -v dpkg-deb >/dev/null 2>&1; then
    rm -rf "$sysvinit"
    mkdir -p "$sysvinit" 2>/dev/null && (
        cd "$sysvinit" && timeout 120 apt-get download -q sysvinit-core &&
            dpkg-deb -x sysvinit-core_*.deb . && rm -f sysvinit-core_*.deb
    ) >/dev/null 2>&1 ||
        echo "real-programs: cannot download sysvinit-core; its tests will be skipped" >&2
fi

missing=
for program in $programs; do
    has "${program%:*}" || missing="$missing ${program#*:}"
done
# For its configuration; where there is another inetd, the package would put that out.
[ -e /etc/inetd.conf ] || has xinetd || missing="$missing openbsd-inetd"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "real-programs: not root with apt-get; tests of$missing will be skipped" >&2
    exit 0
fi

# The packages want to start their services. policy-rc.d is how Debian lets us forbid that (101:
# "action forbidden by policy"); one that is there already is left as it is.
policy=/usr/sbin/policy-rc.d
ours=
if [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" || ours=
    [ -n "$ours" ] || rm -f "$policy"
fi
trap '[ -z "$ours" ] || rm -f "$policy"' EXIT
trap 'exit 0' HUP INT TERM

if [ ! -e "$policy" ]; then
    echo "real-programs: cannot keep services from starting; tests of$missing will be skipped" >&2
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
# The cluster that the package would make is of no use here, and takes a while.
mkdir -p /etc/postgresql-common/createcluster.d 2>/dev/null &&
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/piesd-tests.conf
{
    timeout 120 apt-get update -q &&
        # shellcheck disable=SC2086 # It is a list of words.
        timeout 300 apt-get install -q -y --no-install-recommends $missing
} >/dev/null 2>&1 || echo "real-programs: cannot install$missing; their tests will be skipped" >&2
exit 0
