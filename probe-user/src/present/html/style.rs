//! How the document looks: on a phone, on a wide screen, dark, and on paper.

/// The style sheet, but for the colours of the charts.
pub(super) const CSS: &str = "\
:root{color-scheme:light dark;--page:#fff;--text:#1f2328;--soft:#57606a;--line:#d8dee4;--card:#f6f8fa;--code:#eef1f4;
--critical:#b42318;--warning:#8a5a00;--info:#1d5fa8;--good:#1a7f4b}
@media screen and (prefers-color-scheme:dark){:root{--page:#0f1318;--text:#e6eaf0;--soft:#9da7b3;--line:#30363d;
--card:#171c23;--code:#232a33;--critical:#ff8b82;--warning:#f2c25c;--info:#7cb8f7;--good:#5cc98f}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:66rem;padding:1.25rem 1rem 3rem;background:var(--page);color:var(--text);
font:1rem/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:.2rem 0 .5rem}
h2{font-size:1.3rem;margin:2.5rem 0 .75rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font-size:1.1rem;margin:1.5rem 0 .5rem}
h4{font-size:.95rem;margin:1.1rem 0 .4rem}
p{margin:.4rem 0}
a{color:var(--info)}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:.88em}
code{background:var(--code);border-radius:.25rem;padding:.1em .3em}
pre{margin:.35rem 0;padding:.5rem .7rem;background:var(--code);border-radius:.35rem;white-space:pre-wrap}
pre code{background:none;padding:0;user-select:all;-webkit-user-select:all}
b{font-weight:650;font-variant-numeric:tabular-nums}
.soft{color:var(--soft);font-size:.92rem}
.tool{color:var(--soft);font-size:.92rem;margin:0}
.lede{font-size:1.12rem}
.badge{display:inline-block;font-size:.72rem;font-weight:700;letter-spacing:.05em;text-transform:uppercase;
border:1.5px solid currentColor;border-radius:.3rem;padding:0 .45em;vertical-align:.12em;white-space:nowrap}
.critical{color:var(--critical)}
.warning{color:var(--warning)}
.info{color:var(--info)}
.good{color:var(--good)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.6rem 1.2rem;margin:1rem 0;
padding:.8rem 1rem;background:var(--card);border:1px solid var(--line);border-radius:.5rem}
.facts div{min-width:0}
.facts .wide{grid-column:span 2}
dt{color:var(--soft);font-size:.82rem}
dd{margin:0}
.toc{margin:1rem 0}
.toc ol{margin:.3rem 0;padding-left:1.5rem}
.cause{margin:1.25rem 0;padding:.2rem 1.1rem 1rem;border:1px solid var(--line);border-left:.35rem solid var(--soft);
border-radius:.5rem}
.cause.is-critical{border-left-color:var(--critical)}
.cause.is-warning{border-left-color:var(--warning)}
.cause.is-info{border-left-color:var(--info)}
.cause h3{margin:.8rem 0 .4rem;font-size:1.2rem;line-height:1.3}
.rule{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-weight:600;color:var(--soft)}
.symptom{margin:.7rem 0 0;padding:.1rem 0 .1rem 1rem;border-left:.2rem solid var(--line)}
.symptom h5{font-size:.98rem;margin:.3rem 0}
.remedies{padding-left:1.5rem}
.remedies>li{margin:.55rem 0}
.remedies p{margin:.15rem 0}
.share{max-width:24rem;margin:.5rem 0}
.strip svg{display:block;width:100%;height:1rem;border-radius:.2rem}
.strip.thin svg{height:.6rem}
.fall{margin:.35rem 0 .1rem}
.fall svg{display:block;width:100%}
.ends{display:flex;justify-content:space-between;color:var(--soft);font-size:.8rem;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,23rem),1fr));gap:1rem 1.5rem;margin:.75rem 0}
figure{margin:0;min-width:0;break-inside:avoid}
figcaption{font-size:.92rem;margin-bottom:.25rem}
.chart svg{display:block;width:100%;height:auto;max-width:36rem}
.chart text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-variant-numeric:tabular-nums}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.3rem 0;padding:0;list-style:none;font-size:.9rem}
.key{display:inline-block;width:.8em;height:.8em;border-radius:.15em;margin-right:.4em;vertical-align:-.05em;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
table{border-collapse:collapse;width:100%;margin:.5rem 0;font-size:.94rem}
caption{display:none;text-align:left;font-weight:600;padding:.6rem 0 .2rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line)}
th,td{overflow-wrap:break-word}
th code,td code{overflow-wrap:anywhere}
th[scope=row]{min-width:10rem}
td.bar{min-width:5rem;width:11rem;padding-top:.6rem}
table.few{max-width:30rem}
thead th{color:var(--soft);font-weight:500;font-size:.84rem}
th[scope=row]{font-weight:500}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.evidence th{width:9.5rem;color:var(--soft);font-weight:500}
.evidence td span{display:inline-block;margin-right:1.6rem}
details{margin:.5rem 0}
details.signal>summary{color:inherit}
details.signal>summary h2{display:inline;border:0;margin:0}
details.signal{margin:2.2rem 0 0;padding-bottom:.25rem;border-top:1px solid var(--line);padding-top:1rem}
summary{cursor:pointer;color:var(--info)}
.closing th{width:9.5rem}
footer{margin-top:2.5rem;color:var(--soft);font-size:.88rem}
@media (max-width:40rem){
h1{font-size:1.35rem}
.cause{padding:.1rem .8rem .8rem}
.facts{grid-template-columns:1fr 1fr}
.facts .wide{grid-column:1/-1}
thead{display:none}
caption{display:block}
table,tbody,tr,th,td{display:block;width:auto}
tr{padding:.45rem 0;border-bottom:1px solid var(--line)}
th[scope=row]{min-width:0}
td.bar{width:auto;padding:.25rem 0}
th,td,.evidence th,.closing th{border:0;padding:.05rem 0;width:auto}
td[data-head]{display:flex;gap:.8rem;justify-content:space-between}
td[data-head]::before{content:attr(data-head);color:var(--soft);font-size:.88rem;flex:none}
td[data-head]:empty{display:none}
td.bar{display:block}
td.bar::before{content:none}
.n{text-align:right;white-space:normal}
}
@media print{
html{font-size:10pt}
body{max-width:none;padding:0}
tr,li,pre,.facts{break-inside:avoid}
h2,h3,h4,h5{break-after:avoid}
a{color:inherit;text-decoration:none}
.charts{grid-template-columns:1fr 1fr}
}
";
