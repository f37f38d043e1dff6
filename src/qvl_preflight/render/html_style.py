"""How a report looks in a notebook. Its colours are its own, so that it reads the same in JupyterLab, Notebook, VS Code, Colab and a plain page."""

_LIGHT = "--fg:#1b1f24;--dim:#57606a;--bg:#ffffff;--soft:#f4f6f8;--line:#d0d7de;--error:#b3261e;--warning:#8a5300;--note:#0b5cad;--ok:#1a7f37;--add:#dff5e3;--del:#fde4e2;color-scheme:light"
_DARK = "--fg:#e6e8eb;--dim:#a3adb8;--bg:#1b1e23;--soft:#262b31;--line:#3d444d;--error:#ff8a80;--warning:#f0b429;--note:#79b8ff;--ok:#56d364;--add:#12361d;--del:#4a1d1b;color-scheme:dark"

# What a page says of its own theme goes before what the system prefers.
_SAYS_LIGHT = "[data-jp-theme-light=true] .qvlp.qvlp,.vscode-light .qvlp.qvlp,html[theme=light] .qvlp.qvlp"
_SAYS_DARK = "[data-jp-theme-light=false] .qvlp.qvlp,.vscode-dark .qvlp.qvlp,html[theme=dark] .qvlp.qvlp"

STYLE = f"""<style>
.qvlp.qvlp{{{_LIGHT};color:var(--fg);background:var(--bg);border:1px solid var(--line);border-radius:6px;padding:10px 14px;margin:4px 0;max-width:860px;font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;text-align:left}}
@media (prefers-color-scheme:dark){{.qvlp.qvlp{{{_DARK}}}}}
{_SAYS_LIGHT}{{{_LIGHT}}}
{_SAYS_DARK}{{{_DARK}}}
.qvlp.qvlp p{{margin:0 0 6px;color:inherit}}
.qvlp.qvlp .qvlp-word{{font-weight:700;letter-spacing:.03em;margin-right:.4em}}
.qvlp.qvlp .qvlp-fails,.qvlp.qvlp .qvlp-error{{color:var(--error)}}
.qvlp.qvlp .qvlp-degraded,.qvlp.qvlp .qvlp-incomplete,.qvlp.qvlp .qvlp-warning{{color:var(--warning)}}
.qvlp.qvlp .qvlp-ok{{color:var(--ok)}}
.qvlp.qvlp .qvlp-note{{color:var(--note)}}
.qvlp.qvlp details{{border-top:1px solid var(--line);margin:0;padding:6px 0}}
.qvlp.qvlp summary{{cursor:pointer;font-weight:600;color:var(--fg)}}
.qvlp.qvlp summary:focus-visible{{outline:2px solid var(--note);outline-offset:2px}}
.qvlp.qvlp summary .qvlp-code{{font-weight:400;color:var(--dim)}}
.qvlp.qvlp .qvlp-rows{{display:grid;width:auto;grid-template-columns:max-content minmax(0,1fr);gap:2px 12px;margin:6px 0 4px;padding:0}}
.qvlp.qvlp .qvlp-rows dt{{grid-column:1;float:none;width:auto;color:var(--dim);font-weight:400;margin:0;padding:0}}
.qvlp.qvlp .qvlp-rows dd{{grid-column:2;float:none;width:auto;max-width:none;margin:0;padding:0;overflow-wrap:anywhere}}
.qvlp.qvlp code,.qvlp.qvlp pre{{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;color:var(--fg);background:var(--soft);border:0;border-radius:4px;padding:1px 5px;white-space:pre-wrap;overflow-wrap:anywhere}}
.qvlp.qvlp pre{{display:block;padding:8px 10px;margin:6px 0}}
.qvlp.qvlp code.qvlp-del{{background:var(--del)}}
.qvlp.qvlp code.qvlp-add{{background:var(--add)}}
</style>"""
