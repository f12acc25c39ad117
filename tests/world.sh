#!/bin/sh
# Make a root directory out of what this machine has, without what the words before `--` name, and
# execute the command behind it there. For the first process of new PID and mount namespaces: it
# touches nothing of the machine, whose directories can only be read there.
#
#   readonly     nothing can be written
#   no-run       there is no /run
#   no-proc      there is no /proc
#   no-console   there is no /dev/console
#   no-dev       there is nothing in /dev
#   nobody       the command does not run as root
#
# $WORLD_PATHS are directories to be had there beside the system's. What lies in $WORLD_FILES is
# copied to /world, which keeps what is written there if it is a directory of the machine.
set -eu

has() {
    case " $wanted " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

show() {
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    mount -o remount,bind,ro "$root$1"
}

wanted=
while [ "$1" != -- ]; do
    wanted="$wanted $1"
    shift
done
shift

mount --make-rprivate /
root=/mnt
mount -t tmpfs -o mode=755 world "$root"
for entry in /bin /sbin /lib /lib32 /lib64 /libx32 /usr; do
    if [ -L "$entry" ]; then
        ln -s "$(readlink "$entry")" "$root$entry"
    elif [ -d "$entry" ]; then
        show "$entry"
    fi
done
# What is in $WORLD_USR stands over what is in /usr.
if [ -n "${WORLD_USR:-}" ]; then
    mount -t overlay -o "lowerdir=$WORLD_USR:/usr" overlay "$root/usr"
fi
for path in ${WORLD_PATHS:-}; do
    show "$path"
done
mkdir "$root/dev" "$root/proc" "$root/sys" "$root/var" "$root/var/log"
ln -s ../run "$root/var/run"
mkdir -p "$root/tmp" "$root/world"
chmod 1777 "$root/tmp" "$root/world"
mkdir "$root/etc"
for name in passwd group services protocols nsswitch.conf ld.so.cache hosts alternatives; do
    if [ -e "/etc/$name" ]; then cp -a "/etc/$name" "$root/etc"; fi
done
if [ -n "${WORLD_FILES:-}" ]; then mount --bind "$WORLD_FILES" "$root/world"; fi
has no-run || mkdir -m 755 "$root/run"
if has no-proc; then rmdir "$root/proc"; else mount -t proc proc "$root/proc"; fi
if ! has no-dev; then
    for device in null zero full random urandom tty; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    if ! has no-console; then
        : >"$root/dev/console"
        mount --bind /dev/console "$root/dev/console"
    fi
fi
if has readonly; then
    if [ -n "${WORLD_FILES:-}" ]; then mount -o remount,bind,ro "$root/world"; fi
    mount -o remount,ro "$root"
fi
here=$PWD
# shellcheck disable=SC2016 # The shell behind it is to expand these.
inside='cd "$1"; shift; exec "$@"'
if has nobody; then
    exec chroot --userspec=65534:65534 --groups= "$root" /bin/sh -c "$inside" sh "$here" "$@"
fi
exec chroot "$root" /bin/sh -c "$inside" sh "$here" "$@"
