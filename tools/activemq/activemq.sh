#!/bin/bash
# activemq.sh check|start|stop|kill|status|clean
# Runs Debian's ActiveMQ Classic with STOMP over TLS on loopback, for tests.
#   AMQ_DIR   state, log and certificates (default: $TMPDIR/fn-threatq-activemq)
#   AMQ_PORT  TLS port (default: the port of the last start, else a free one)
#   AMQ_HEAP  heap of the Java machine (default 512m)
#   AMQ_PARENT  a process id: the broker ends when that process does (default: none)
#   AMQ_HOME  where ActiveMQ is installed (default /usr/share/activemq)
# "check" tells what has to be installed first, and ends with 2 when something has.
# "start" returns when the port answers and prints where; users are in activemq.xml.
set -u
here=$(cd "$(dirname "$0")" && pwd)
dir=${AMQ_DIR:-${TMPDIR:-/tmp}/fn-threatq-activemq}
home=${AMQ_HOME:-/usr/share/activemq}
pidfile=$dir/pid

alive() { [ -s "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null; }
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Below the range from which the system takes ports for outgoing connections.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    answers "$port" || { echo "$port"; return; }
  done
  echo "no free port found" >&2; exit 1
}

certificates() {
  local d=$dir/certs
  [ -s "$d/broker.p12" ] && [ -s "$d/ca.pem" ] && return
  mkdir -p "$d"
  ( set -e; umask 077; cd "$d"
    openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 30 -keyout ca.key -out ca.pem \
      -subj '/CN=throw-away test CA' -addext 'keyUsage=critical,keyCertSign,cRLSign'
    openssl req -newkey rsa:2048 -nodes -sha256 -keyout server.key -out server.csr -subj '/CN=localhost'
    printf '%s\n' 'basicConstraints=CA:FALSE' 'extendedKeyUsage=serverAuth' \
      'subjectAltName=DNS:localhost,IP:127.0.0.1' > server.ext
    openssl x509 -req -sha256 -days 30 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
      -extfile server.ext -out server.pem
    openssl pkcs12 -export -name broker -inkey server.key -in server.pem -certfile ca.pem \
      -out broker.p12 -passout pass:changeit
  ) > "$dir/openssl.log" 2>&1 || { echo "making certificates failed; see $dir/openssl.log" >&2; exit 1; }
}

# Java comes with the package activemq, as one of its dependencies.
check() {
  local install='apt-get install -y --no-install-recommends activemq openssl' complete=true
  missing() { echo "$1 is not installed: $install" >&2; complete=false; }
  [ -r "$home/bin/activemq.jar" ] || missing "ActiveMQ ($home/bin/activemq.jar)"
  command -v java >/dev/null || missing Java
  command -v openssl >/dev/null || missing OpenSSL
  $complete || exit 2
}

start() {
  alive && { echo "already running: pid=$(cat "$pidfile") tls=127.0.0.1:$(cat "$dir/port") ca=$dir/certs/ca.pem"; return; }
  [ -r "$home/bin/activemq.jar" ] || {
    echo "ActiveMQ is not installed: apt-get install -y --no-install-recommends activemq" >&2; exit 2; }
  mkdir -p "$dir/data" "$dir/tmp" "$dir/conf"
  certificates
  port=${AMQ_PORT:-$(cat "$dir/port" 2>/dev/null)}
  [ -n "$port" ] || port=$(free_port) || exit 1
  answers "$port" && { echo "port $port is taken" >&2; exit 1; }
  echo "$port" > "$dir/port"
  cat > "$dir/conf/log4j2.properties" <<L
status = error
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1} %m%n
L
  opens=
  for p in java.lang java.util java.net java.security java.util.concurrent java.util.concurrent.atomic; do
    opens="$opens --add-opens java.base/$p=ALL-UNNAMED"
  done
  # A session of its own, so that a ^C for the tests does not reach it first.
  setsid java -Xms64m -Xmx"${AMQ_HEAP:-512m}" -XX:+UseSerialGC $opens \
    -Dactivemq.home=$home -Dactivemq.base="$dir" -Dactivemq.conf="$dir/conf" -Dactivemq.data="$dir/data" \
    -Dactivemq.classpath="$dir/conf" -Djava.io.tmpdir="$dir/tmp" \
    -Dlog4j2.configurationFile="$dir/conf/log4j2.properties" \
    -Damq.data="$dir/data" -Damq.certs="$dir/certs" -Damq.port="$port" \
    -jar $home/bin/activemq.jar start "xbean:file:$here/activemq.xml" >>"$dir/log" 2>&1 </dev/null &
  echo $! > "$pidfile"
  if [ -n "${AMQ_PARENT:-}" ]; then
    setsid bash -c 'while kill -0 "$0" && kill -0 "$1"; do sleep 1; done; kill "$1"' \
      "$AMQ_PARENT" "$(cat "$pidfile")" >/dev/null 2>&1 </dev/null &
  fi
  for _ in $(seq 1200); do
    answers "$port" && { echo "up: pid=$(cat "$pidfile") tls=127.0.0.1:$port ca=$dir/certs/ca.pem"; return; }
    alive || { echo "ActiveMQ ended at once; the end of $dir/log:" >&2; tail -20 "$dir/log" >&2; exit 1; }
    sleep 0.05
  done
  kill -9 "$(cat "$pidfile")"
  echo "ActiveMQ did not answer on port $port within a minute; see $dir/log" >&2; exit 1
}

# end SIGNAL waits until the process is gone; after ten seconds it insists.
end() {
  alive || { rm -f "$pidfile"; return; }
  pid=$(cat "$pidfile")
  kill "-$1" "$pid"
  for _ in $(seq 200); do alive || break; sleep 0.05; done
  if alive; then kill -KILL "$pid"; while alive; do sleep 0.05; done; fi
  rm -f "$pidfile"
}

case "${1:-}" in
check) check ;;
start) start ;;
stop) end TERM ;;
kill) end KILL ;;
status)
  alive || { echo down; exit 1; }
  echo "up: pid=$(cat "$pidfile") tls=127.0.0.1:$(cat "$dir/port") ca=$dir/certs/ca.pem" ;;
clean)
  alive && { echo "it is running: stop it first" >&2; exit 1; }
  rm -rf "$dir/data" "$dir/tmp" "$dir/conf" "$dir/certs" "$dir/log" "$dir/openssl.log" "$dir/port" ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
