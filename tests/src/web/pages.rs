//! What PHP does in the [`Stack`](super::Stack).

/// The pages, by name. `calls.php?n=N&url=URL&reuse=0|1&parallel=0|1` calls its peer and prints what it
/// measured: seconds in curl, and seconds since the request began. `lookup.php?name=NAME` looks a name up.
///
/// `css.php?dir=DIR&n=N&cached=0|1` makes N small style sheets: with new names at each visit, or under names that
/// stay, which the next visit finds. It prints how many it made and how many bytes, and ends at the first that it cannot make.
///
/// `outbound.php?n=N&url=URL` calls its peer N times on connections of their own, which it closes first, and goes on when one
/// fails. It prints how many were answered, found no local port, and failed otherwise. `redis.php?n=N&port=P&on=kept|page|call`
/// counts N keys up in Redis, one after the other: on a connection that the worker keeps, one for the page, or one for each
/// call. `lookups.php?n=N&names=K&zone=Z` looks up N of K names. `insert.php?n=N&port=P` inserts N rows and commits once, on a
/// connection that the worker keeps.
///
/// `catalog.php?n=N&url=URL&cached=0|1` calls its peer N times on connections of their own, or says what it said before.
pub(super) const PAGES: [(&str, &str); 10] = [
    (
        "calls.php",
        r#"<?php
$begin = hrtime(true);
$n = (int)$_GET['n'];
$curl = 0;
function handle() {
    $h = curl_init($_GET['url']);
    curl_setopt($h, CURLOPT_RETURNTRANSFER, true);
    return $h;
}
function check($body) {
    if ($body !== 'ok') { http_response_code(500); echo 'the peer did not answer'; exit; }
}
if (!empty($_GET['parallel'])) {
    $t = hrtime(true);
    $multi = curl_multi_init();
    $all = [];
    for ($i = 0; $i < $n; $i++) { $all[$i] = handle(); curl_multi_add_handle($multi, $all[$i]); }
    do {
        curl_multi_exec($multi, $running);
        if ($running) { curl_multi_select($multi, 1.0); }
    } while ($running);
    foreach ($all as $h) { check(curl_multi_getcontent($h)); }
    $curl = hrtime(true) - $t;
} else {
    $h = handle();
    for ($i = 0; $i < $n; $i++) {
        if (empty($_GET['reuse'])) { $h = handle(); }
        $t = hrtime(true);
        $body = curl_exec($h);
        $curl += hrtime(true) - $t;
        check($body);
    }
}
echo json_encode(['curl_ns' => $curl, 'page_ns' => hrtime(true) - $begin]);
"#,
    ),
    (
        // Looks a name up for IPv4 and IPv6, as every client library does, and sends nothing to what it finds.
        "lookup.php",
        r#"<?php
$name = $_GET['name'];
$begin = hrtime(true);
$to = @fsockopen("udp://$name", 9);
echo json_encode(['took_ns' => hrtime(true) - $begin, 'began_ns' => $begin, 'found' => $to !== false]);
"#,
    ),
    (
        // Writes so many small files and syncs the last of them; then, if asked to, removes them.
        "write.php",
        r#"<?php
$begin = hrtime(true);
$name = $_GET['dir'] . '/' . getmypid() . '-' . $begin;
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $file = fopen("$name-$i", 'w');
    fwrite($file, str_repeat('x', 1000));
    fflush($file);
    $t = hrtime(true);
    if ($i == (int)$_GET['n'] - 1) { fsync($file); }
    $fsync = hrtime(true) - $t;
    fclose($file);
}
for ($i = 0; !empty($_GET['remove']) && $i < (int)$_GET['n']; $i++) { unlink("$name-$i"); }
echo json_encode(['fsync_ns' => $fsync, 'page_ns' => hrtime(true) - $begin]);
"#,
    ),
    (
        "css.php",
        r#"<?php
$visit = empty($_GET['cached']) ? uniqid('', true) . getmypid() : 'cached';
$made = $bytes = $refused = 0;
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $file = "{$_GET['dir']}/style-$i-" . sha1("$visit $i") . '.css';
    if (is_file($file)) { file_get_contents($file); continue; }
    $text = str_repeat(".c$i { color: #" . dechex($i) . "; }\n", 8 + $i % 50);
    if (@file_put_contents($file, $text) !== strlen($text)) { http_response_code(500); $refused++; break; }
    $made++;
    $bytes += strlen($text);
}
echo json_encode(['made' => $made, 'bytes' => $bytes, 'refused' => $refused]);
"#,
    ),
    (
        // What is cached still takes a while to be made a page of.
        "catalog.php",
        r#"<?php
for ($i = 0; empty($_GET['cached']) && $i < (int)$_GET['n']; $i++) {
    $h = curl_init($_GET['url']);
    curl_setopt($h, CURLOPT_RETURNTRANSFER, true);
    if (curl_exec($h) !== 'ok') { http_response_code(500); exit; }
}
usleep(30000);
echo 'a catalogue';
"#,
    ),
    (
        "outbound.php",
        r#"<?php
$made = $no_port = $failed = 0;
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $h = curl_init($_GET['url']);
    curl_setopt($h, CURLOPT_RETURNTRANSFER, true);
    if (curl_exec($h) === 'ok') { $made++; continue; }
    // EADDRNOTAVAIL
    if (curl_getinfo($h, CURLINFO_OS_ERRNO) === 99) { $no_port++; } else { $failed++; }
}
if ($no_port + $failed) { http_response_code(502); }
echo json_encode(['made' => $made, 'no_port' => $no_port, 'failed' => $failed]);
"#,
    ),
    (
        "redis.php",
        r#"<?php
function connection() {
    $open = $_GET['on'] === 'kept' ? 'pfsockopen' : 'fsockopen';
    $to = @$open('127.0.0.1', (int)$_GET['port'], $errno, $error, 5);
    if (!$to) { http_response_code(500); echo $error; exit; }
    return $to;
}
$redis = connection();
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    if ($i > 0 && $_GET['on'] === 'call') { fclose($redis); $redis = connection(); }
    $key = "views:$i";
    fwrite($redis, "*2\r\n$4\r\nINCR\r\n$" . strlen($key) . "\r\n$key\r\n");
    $answer = fgets($redis);
    if ($answer === false || $answer[0] !== ':') { http_response_code(500); var_dump($answer); exit; }
}
echo 'counted';
"#,
    ),
    (
        "lookups.php",
        r#"<?php
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $name = 'n' . mt_rand(1, (int)$_GET['names']) . '.' . $_GET['zone'];
    if (!@fsockopen("udp://$name", 9)) { http_response_code(500); exit; }
}
echo 'found';
"#,
    ),
    (
        "insert.php",
        r#"<?php
$db = new mysqli('p:127.0.0.1', 'shop', 'shop', 'shop', (int)$_GET['port']);
$db->begin_transaction();
for ($i = 0; $i < (int)$_GET['n']; $i++) {
    $db->query("INSERT INTO orders (item, note) VALUES ($i, 'as usual')");
}
$db->commit();
echo 'ordered';
"#,
    ),
    (
        "fast.php",
        "<?php $x = 0; for ($i = 0; $i < 2000; $i++) { $x += $i; } echo $x;\n",
    ),
];
