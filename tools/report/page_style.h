#pragma once

#include <string_view>

namespace ghost {

/// The style sheet of the report. Colours are variables, so that the drawings follow the light or
/// dark scheme of the reader; c0 to c7 stay apart for the common forms of colour blindness.
inline constexpr std::string_view kPageStyle = R"css(
:root{color-scheme:light dark;--page:#f6f7f8;--card:#fff;--ink:#1b1f24;--muted:#5b6570;--rule:#dfe3e7;
--c0:#2a6fdb;--c1:#d9622b;--c2:#12876b;--c3:#b07d00;--c4:#7a52c7;--c5:#c2407c;--c6:#4f8a1f;--c7:#6b7480}
@media(prefers-color-scheme:dark){:root{--page:#14171a;--card:#1c2024;--ink:#e6e9ec;--muted:#9aa4ae;
--rule:#31373d;--c0:#5b9bf5;--c1:#f08a55;--c2:#35b994;--c3:#d8a72c;--c4:#a586ea;--c5:#e674a6;
--c6:#84bd50;--c7:#98a2ad}}
*{box-sizing:border-box}
body{margin:0;padding:28px 20px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1200px;margin:auto}
h1{font-size:24px;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:17px;margin:30px 0 10px}
.lead{color:var(--muted);margin:4px 0 20px;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,210px),1fr));gap:12px;margin:0}
.facts div,figure,.panel{background:var(--card);border:1px solid var(--rule);border-radius:8px}
.facts div{padding:10px 14px}
.facts dt{color:var(--muted);font-size:13px}
.facts dd{margin:0;font-size:20px;font-weight:600;line-height:1.3}
.facts small{display:block;font-size:12.5px;font-weight:400;color:var(--muted)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:14px}
figure{margin:0;padding:14px 16px 10px;min-width:0}
figure.wide{grid-column:1/-1}
figcaption{font-weight:600;margin-bottom:4px}
.unit{font-weight:400;color:var(--muted);font-size:13px;margin-left:6px}
svg{display:block;width:100%;height:auto;overflow:visible}
.grid{stroke:var(--rule);stroke-width:1}
.axis{stroke:var(--muted);stroke-width:1}
.event{stroke:var(--muted);stroke-width:1;stroke-dasharray:2 3}
.tick{fill:var(--muted);font-size:11.5px;font-variant-numeric:tabular-nums}
.name{fill:var(--ink);font-size:12.5px}
path{fill:none;stroke:currentColor;stroke-linejoin:round;stroke-linecap:round}
.line{stroke-width:2}.joined{stroke-width:1.4}.fine{stroke-width:1.1}.faint{stroke-width:1;opacity:.33}
.points{fill:currentColor;stroke:var(--card);stroke-width:1}
.part{fill:currentColor;stroke:var(--card);stroke-width:1}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}
.c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px;margin:0 0 6px}
.key{display:inline-flex;align-items:center;gap:7px;overflow-wrap:anywhere}
.swatch{flex:none;width:14px;height:3px;border-radius:2px;background:currentColor}
.swatch.dot{width:8px;height:8px;border-radius:50%;margin:0 3px}
td .swatch.bar{height:10px}
.note{color:var(--muted);font-size:13px;margin:8px 0 4px}
.scroll{overflow:auto}
table{border-collapse:collapse;font-size:14px;width:100%}
th{font-weight:600;text-align:left;color:var(--muted);font-size:13px}
th,td{padding:5px 14px 5px 0;border-bottom:1px solid var(--rule);vertical-align:top}
.numbers td,.numbers th{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.numbers td:first-child,.numbers th:first-child{text-align:left}
table.numbers{width:auto;margin-top:10px}
tfoot td{color:var(--muted)}
tbody:last-child tr:last-child>*,tfoot tr:last-child td{border-bottom:0}
.panel{padding:10px 16px;margin-bottom:10px}
.events{max-height:340px;overflow:auto}
.events td:first-child{text-align:right;font-variant-numeric:tabular-nums;width:1%;white-space:nowrap}
.events td:nth-child(2){width:1%;white-space:nowrap}
summary{cursor:pointer;font-weight:600}
pre{overflow:auto;font:13px/1.5 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
footer{color:var(--muted);font-size:13px;margin-top:24px}
@media print{body{background:#fff;padding:0}figure,.panel,.facts div{break-inside:avoid}}
)css";

}  // namespace ghost
