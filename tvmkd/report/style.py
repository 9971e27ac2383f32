"""The report's style sheet. One file, no network: it goes into the page as it is."""

from __future__ import annotations

LIGHT = """
  --page: #f4f5f7; --surface: #ffffff; --ink: #14181f; --muted: #5a6472; --rule: #dde1e7;
  --accent: #0f766e; --accent-soft: #99d5cc; --other: #7b8798; --other-soft: #ccd3dc;
  --bad: #b42318; --bad-soft: #fbe4e1; --good: #17734a; --good-soft: #dff3e8; --mark: #b45309;
"""
DARK = """
  --page: #0e1116; --surface: #171b22; --ink: #e8ebf0; --muted: #9aa5b4; --rule: #2b323d;
  --accent: #2dd4bf; --accent-soft: #1c665e; --other: #8793a5; --other-soft: #3d4756;
  --bad: #ff8a7a; --bad-soft: #43201c; --good: #56d39a; --good-soft: #16382a; --mark: #f5b04c;
"""

CSS = (
    ":root { color-scheme: light dark;"
    + LIGHT
    + "}\n@media (prefers-color-scheme: dark) { :root {"
    + DARK
    + "} }\n"
    + """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 56px; }
header { margin-bottom: 24px; }
.eyebrow { color: var(--muted); font-size: 14px; margin: 0 0 8px; overflow-wrap: anywhere; }
h1 { font-size: clamp(23px, 3.4vw, 32px); line-height: 1.22; font-weight: 650; margin: 0;
  letter-spacing: -0.015em; text-wrap: balance; }
.because { color: var(--muted); margin: 10px 0 0; max-width: 72ch; }
h2 { font-size: 18px; font-weight: 650; margin: 0 0 4px; letter-spacing: -0.005em; }
section { background: var(--surface); border: 1px solid var(--rule); border-radius: 10px;
  padding: 22px 24px 20px; margin-top: 18px; }
section > p.lead { color: var(--muted); font-size: 14px; margin: 0 0 14px; max-width: 76ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; }
.tile { background: var(--surface); border: 1px solid var(--rule); border-radius: 10px;
  padding: 14px 16px; }
.tile b { display: block; font-size: 25px; font-weight: 650; line-height: 1.25;
  letter-spacing: -0.01em; }
.tile span { color: var(--muted); font-size: 13.5px; display: block; overflow-wrap: anywhere; }
.tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
.caption { color: var(--muted); font-size: 13.5px; margin: 14px 0 6px; }
th, td { padding: 8px 10px; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { font-weight: 600; color: var(--muted); font-size: 13px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
tbody th { color: var(--ink); font-size: 14.5px; }
tbody tr:last-child > * { border-bottom: 0; }
tr.first > * { font-weight: 650; } tr.first th { color: var(--accent); }
td.wrap { white-space: normal; text-align: left; min-width: 16em; overflow-wrap: anywhere; }
.pill { font-size: 12px; font-weight: 600; border-radius: 99px; padding: 1px 8px;
  margin-right: 6px; }
.pill.bad { background: var(--bad-soft); color: var(--bad); }
.pill.good { background: var(--good-soft); color: var(--good); }
td .bar { display: block; min-width: 1px; height: 10px; border-radius: 2px;
  background: var(--accent); }
td.barcell { width: 38%; min-width: 72px; }
ul { margin: 6px 0 0; padding-left: 20px; } li { margin: 4px 0; overflow-wrap: anywhere; }
.notes { border-color: var(--mark); }
dl { display: grid; grid-template-columns: minmax(110px, 210px) 1fr; gap: 6px 18px;
  margin: 12px 0 0;
  font-size: 14.5px; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: 13px; margin-top: 22px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg.narrow { display: none; }
svg text { fill: var(--ink); font-size: 13px; }
svg text.label { paint-order: stroke; stroke: var(--surface); stroke-width: 4px; }
svg text.small { fill: var(--muted); font-size: 12px; }
svg text.strong { font-weight: 650; }
svg text.first { fill: var(--accent); font-weight: 650; }
svg text.bad { fill: var(--bad); font-weight: 600; }
svg text.mark { fill: var(--mark); font-weight: 600; font-size: 12px; }
svg .cut { stroke: var(--surface); stroke-width: 3; fill: none; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .axis { stroke: var(--muted); stroke-width: 1; }
svg .budget { stroke: var(--mark); stroke-width: 2; stroke-dasharray: 5 4; }
svg .fill-first { fill: var(--accent); } svg .fill-other { fill: var(--other); }
svg .soft-first { fill: var(--accent-soft); } svg .soft-other { fill: var(--other-soft); }
svg .tick { stroke: var(--ink); stroke-width: 2; }
svg .tick99 { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 2 2; }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2.25; stroke-linejoin: round; }
svg .frontier { fill: none; stroke: var(--other); stroke-width: 1.5; stroke-dasharray: 3 4; }
svg .dot { stroke: var(--surface); stroke-width: 2; }
@media (max-width: 640px) {
  main { padding: 24px 14px 40px; }
  section { padding: 16px 16px 14px; }
  svg.wide { display: none; } svg.narrow { display: block; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 10px; }
  tbody th { white-space: normal; }
  th, td { padding: 7px 6px; } table { font-size: 13.5px; } tbody th { font-size: 13.5px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; } .tile { padding: 12px; }
  .tile b { font-size: 21px; }
}
@media print {
  :root {"""
    + LIGHT
    + """--page: #ffffff; }
  @page { margin: 14mm; }
  body { font-size: 12px; } main { max-width: none; padding: 0; }
  section, .tile { break-inside: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .scroll { overflow: visible; }
}
"""
)
