#!/usr/bin/env bash
# test.sh RELEASE-FOLDER: installs the Debian package on this machine, looks at it
# and at its unit, and removes it again.
set -euo pipefail
dist=$1
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
unit=/usr/lib/systemd/system/fn-threatq.service
fail() { echo "test-package: $*" >&2; exit 1; }

for tool in dpkg-deb apt-get; do
  command -v "$tool" >/dev/null || fail "there is no $tool: run this on Debian or Ubuntu"
done
command -v systemd-analyze >/dev/null || fail "there is no systemd-analyze: apt-get install systemd"
if dpkg-query -W -f '${Status}' fn-threatq 2>/dev/null | grep -q ' installed$'; then
  fail "fn-threatq is installed on this machine; the test would remove it"
fi

(cd "$dist" && sha256sum --quiet --check SHA256SUMS)
for binary in "$dist"/fn-threatq-*-linux-*; do
  if readelf -l "$binary" 2>/dev/null | grep -q INTERP; then fail "$binary is not static"; fi
done
deb=$(realpath "$dist"/fn-threatq_*_"$(dpkg --print-architecture)".deb)
contents=$(dpkg-deb --contents "$deb")
for path in ./usr/bin/fn-threatq ".$unit" ./usr/share/man/man1/fn-threatq.1.gz ./usr/share/man/man1/fn-threatq-service-install.1.gz \
  ./usr/share/bash-completion/completions/fn-threatq ./usr/share/zsh/vendor-completions/_fn-threatq \
  ./usr/share/fish/vendor_completions.d/fn-threatq.fish ./usr/share/doc/fn-threatq/copyright ./etc/default/fn-threatq ./etc/fn-threatq/; do
  grep -qE " ${path//./\\.}$" <<<"$contents" || fail "$path is not in the package"
done
dpkg-deb --info "$deb" conffiles | grep -qx /etc/default/fn-threatq || fail "/etc/default/fn-threatq is not a conffile"

restore() {
  DEBIAN_FRONTEND=noninteractive $sudo apt-get purge -y -qq fn-threatq >/dev/null
  [ "$had_user" = yes ] || $sudo userdel fn-threatq
  [ ! -e "$unit" ] || fail "$unit is left behind"
}
had_user=$(getent passwd fn-threatq >/dev/null && echo yes || echo no)
trap restore EXIT
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$deb"

fn-threatq version
# Without a configuration it says what is missing.
code=0
fn-threatq run --check --config /etc/fn-threatq/app.config 2>/dev/null || code=$?
[ "$code" = 3 ] || fail "run --check without a configuration ends with $code, not 3"
# Images for containers often leave out man pages.
systemd-analyze verify --man=no "$unit" || fail "systemd-analyze verify refuses the unit"
score=$(systemd-analyze security --offline=true "$unit" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
echo "exposure level of the unit: $score (0 is best)"
awk -v score="$score" 'BEGIN { exit !(score != "" && score < 2.5) }' || fail "systemd-analyze security: $score is not below 2.5"
if command -v man >/dev/null; then
  page=$(mktemp -d)
  dpkg-deb --extract "$deb" "$page"
  man --warnings -l "$page/usr/share/man/man1/fn-threatq-run.1.gz" 2>&1 >/dev/null | (! grep .) || fail "the man page has mistakes"
  rm -rf "$page"
fi
bash -n /usr/share/bash-completion/completions/fn-threatq
echo "the package installs, and its unit is sound"
