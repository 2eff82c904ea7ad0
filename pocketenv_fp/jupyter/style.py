"""The style sheet of cards, for light and dark pages, with JupyterLab's fonts and colours if they are defined.

Lines and areas use the page's text colour with low opacity. Signal colours are mixed with it: this makes them darker on
a light page and lighter on a dark one. So the style sheet does not need to know the theme.
"""

from __future__ import annotations

from pocketenv_fp.elements import Html, element

__all__ = ["STYLE"]

SHEET = """
.pe-card {font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif); color:var(--jp-content-font-color1,inherit);
  border:1px solid rgba(128,128,128,.35); border-radius:4px; max-width:68em; margin:2px 0; overflow:hidden; text-align:left}
.pe-card .pe-part + .pe-part {border-top:1px solid rgba(128,128,128,.25)}
.pe-card .pe-head {padding:4px 10px}
.pe-card .pe-head b {font-weight:600}
.pe-card .pe-dot {color:#808890; font-size:11px}
.pe-card .pe-good {color:#2e965c; color:color-mix(in srgb,#2e965c 80%,currentColor)}
.pe-card .pe-bad {color:#d1495b; color:color-mix(in srgb,#d1495b 80%,currentColor)}
.pe-card .pe-busy {color:#b0832f; color:color-mix(in srgb,#b0832f 80%,currentColor)}
.pe-card .pe-quiet {opacity:.72}
.pe-card .pe-cell {white-space:nowrap}
.pe-card .pe-badge {border:1px solid currentColor; border-radius:3px; padding:0 5px; font-size:12px; white-space:nowrap}
.pe-card .pe-text {padding:0 10px 5px}
.pe-card .pe-label {padding:0 10px; font-size:11px; opacity:.72}
.pe-card .pe-code, .pe-card .pe-out {font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);
  font-size:12.5px; line-height:1.45; color:inherit; background:none; border:0}
.pe-card .pe-code {padding:0; overflow-wrap:anywhere; unicode-bidi:isolate}
.pe-card .pe-out {display:block; margin:0 0 5px; padding:3px 10px; max-height:26em; overflow:auto; white-space:pre-wrap;
  overflow-wrap:anywhere; background:rgba(128,128,128,.09); unicode-bidi:isolate}
.pe-card .pe-err {border-left:3px solid #d1495b; padding-left:7px}
.pe-card .pe-more {padding:1px 10px; font-size:12px; font-style:italic; opacity:.72}
.pe-card .pe-wide {overflow-x:auto; padding-bottom:4px}
.pe-card table.pe-table {border-collapse:collapse; margin:0; width:auto; font-size:12.5px; color:inherit; table-layout:auto}
.pe-card table.pe-table tbody tr, .pe-card table.pe-table tbody tr:nth-child(n), .pe-card table.pe-table thead tr
  {background:none; border:0}
.pe-card table.pe-table tr th, .pe-card table.pe-table tr td {text-align:left; vertical-align:top; padding:2px 10px;
  border:0; max-width:60em; white-space:normal}
.pe-card table.pe-table tr th {font-weight:400; opacity:.72; white-space:nowrap}
.pe-card table.pe-list tr td {border-top:1px solid rgba(128,128,128,.2)}
.pe-card .pe-chain {padding:5px 10px; line-height:2.1}
.pe-card .pe-step {border:1px solid rgba(128,128,128,.5); border-radius:4px; padding:2px 7px; overflow-wrap:anywhere;
  background:rgba(128,128,128,.09); box-decoration-break:clone; -webkit-box-decoration-break:clone}
.pe-card .pe-html {padding:4px 10px; unicode-bidi:isolate}
.pe-card .pe-image {display:block; max-width:100%; margin:4px 10px; background:#ffffff}
.pe-card a {color:var(--jp-content-link-color,#3b7dc9)}
"""

# A repeated class counts twice for specificity: JupyterLab's own rules for outputs have a high specificity.
STRONG = SHEET.replace(".pe-card ", ".pe-card.pe-card ")
STYLE = element("style", Html(" ".join(STRONG.split())))
