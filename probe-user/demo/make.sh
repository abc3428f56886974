#!/bin/sh
# Records incident A for the demo: a shop whose catalogue page asks a slow peer 24 times in a row, on real nginx and PHP-FPM.
# Needs root, nginx, php-fpm8.2 with curl, python3 and wrk; everything runs in namespaces of its own, under made-up names and
# addresses that are set aside for documentation. docs/recordings.md says what becomes of the file.
#
#     sudo probe-user/demo/make.sh target/release/stallscope /tmp/incident-a.rec
set -eu
tool=$(readlink -f "$1") out=$(readlink -f "$2")
if [ "${3:-}" != inside ]; then
    exec unshare --net --uts --mount "$0" "$tool" "$out" inside
fi
hostname web-07
ip link set lo up
ip address add 203.0.113.5/32 dev lo
ip address add 203.0.113.80/32 dev lo
mount -t tmpfs shop /srv
mkdir -p /srv/shop /srv/run
cd /srv/run
cat >peer.py <<'PY'
import asyncio, random
async def answer(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(random.gauss(0.060, 0.004) + (0.2 if random.random() < 0.01 else 0))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "203.0.113.5", 443, backlog=1024)
    await server.serve_forever()
asyncio.run(main())
PY
cat >/srv/shop/catalog.php <<'PHP'
<?php
for ($i = 0; $i < 24; $i++) {
    $h = curl_init("http://203.0.113.5:443/price?id=$i");
    curl_setopt($h, CURLOPT_RETURNTRANSFER, true);
    echo curl_exec($h);
}
PHP
cat >fpm.conf <<'FPM'
[global]
error_log = /srv/run/fpm.log
daemonize = no
[webshop]
user = www-data
group = www-data
listen = /srv/run/shop.sock
listen.mode = 0666
pm = static
pm.max_children = 8
chdir = /srv/shop
FPM
cat >nginx.conf <<'NGINX'
user www-data;
worker_processes 1;
daemon off;
pid /srv/run/nginx.pid;
error_log /srv/run/nginx.log warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path /srv/run/t1; proxy_temp_path /srv/run/t2; fastcgi_temp_path /srv/run/t3;
    uwsgi_temp_path /srv/run/t4; scgi_temp_path /srv/run/t5;
    server {
        listen 203.0.113.80:80;
        root /srv/shop;
        location / {
            fastcgi_pass unix:/srv/run/shop.sock;
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
        }
    }
}
NGINX
cat >ask.lua <<'LUA'
local words = { "excavators", "cranes", "drills", "saws", "pumps" }
local n = 0
request = function()
    n = n + 1
    return wrk.format("GET", "/catalog.php?cat=" .. words[n % 5 + 1] .. "&page=" .. n % 7)
end
LUA
started=
trap 'kill $started' EXIT
python3 peer.py &
started="$started $!"
php-fpm8.2 -n -d extension=curl -y fpm.conf >/dev/null 2>&1 &
started="$started $!"
nginx -c /srv/run/nginx.conf -e /srv/run/nginx.log >/dev/null 2>&1 &
started="$started $!"
sleep 2
wrk -t1 -c12 -d40s -s ask.lua --timeout 30s http://203.0.113.80/ >wrk.txt &
started="$started $!"
sleep 3
"$tool" record "$out" --pool webshop --duration 20s
