"""The frame of an exported page and how it looks. Nothing is loaded and no script runs.

The policy names the one style sheet by its hash: whatever else looks like a style is ignored.
"""

import base64
import hashlib
from html import escape

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fbfaf7; --ink: #1f2328; --faint: #626a73; --line: #dedbd3;
  --person: #eef2f0; --code: #f2f0ea; --link: #0b5a7a; --mark: #2f7d6b;
  --warn: #8a4b00; --warn-ground: #fdf1dc; --bad: #a4262c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181b; --ink: #e4e2dc; --faint: #9aa2aa; --line: #31363b;
    --person: #1e2628; --code: #1d2124; --link: #7cc4e0; --mark: #6cc5ae;
    --warn: #f0c27b; --warn-ground: #33291a; --bad: #ff9a94;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 50rem;
  background: var(--ground); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
body > header { margin-bottom: 2rem; padding-bottom: 1.25rem;
  border-bottom: 1px solid var(--line); }
h1 { margin: 0 0 .4rem; font-size: 1.75rem; line-height: 1.25; text-wrap: balance; }
.about, footer { margin: 0; color: var(--faint); font-size: .875rem; }
.about span + span::before, .who span + span::before { content: "·"; margin: 0 .5em; }
article { margin: 0 0 1.25rem; padding: .35rem 1rem .5rem;
  border-inline-start: 3px solid transparent; }
article.user { padding-block: .75rem; background: var(--person); border-color: var(--mark);
  border-radius: .4rem; }
article.system { border-color: var(--line); color: var(--faint); }
article > .who { display: flex; flex-wrap: wrap; align-items: baseline; margin-bottom: .25rem; }
h2 { margin: 0; font-size: .9375rem; }
.who { color: var(--faint); font-size: .8125rem; }
.who h2 { color: var(--ink); margin-inline-end: .6em; }
.who a { margin-inline-start: auto; padding-inline-start: 1em; color: var(--faint);
  text-decoration: none; }
.who a:hover { text-decoration: underline; }
article > div > details:last-child { margin-bottom: .25rem; }
article.on { margin-top: -1.25rem; }
.on > .who:not(:focus-within) { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
.note { margin: .6rem 0; padding: .35rem .7rem; border-radius: .3rem; width: fit-content;
  background: var(--warn-ground); color: var(--warn); font-size: .875rem; }
.said > :first-child { margin-top: 0; }
.said > :last-child { margin-bottom: 0; }
.said + * { margin-top: .8rem; }
p, ul, ol, blockquote, .code, .wide { margin: .8em 0; }
h3, h4, h5, h6 { margin: 1.3em 0 .5em; line-height: 1.3; }
h3 { font-size: 1.25rem; } h4 { font-size: 1.125rem; } h5, h6 { font-size: 1rem; }
ul, ol { padding-inline-start: 1.6em; }
li > p { margin: .3em 0; }
blockquote { margin-inline: 0; padding-inline-start: 1em;
  border-inline-start: 3px solid var(--line); color: var(--faint); }
hr { border: 0; border-top: 1px solid var(--line); margin: 1.5em 0; }
code, pre { font-family: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace;
  font-size: .875em; font-variant-ligatures: none; }
:not(pre) > code { padding: .1em .3em; border-radius: .25em; background: var(--code); }
pre { margin: 0; padding: .75rem .9rem; overflow: auto; line-height: 1.5; background: var(--code);
  border-radius: .4rem; tab-size: 4; overflow-wrap: normal; }
pre code { font-size: 1em; }
.said > pre { margin: .8em 0; }
.code { border-radius: .4rem; background: var(--code); }
.language { padding: .4rem .9rem 0; color: var(--faint); font-size: .75rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; overflow-wrap: normal; }
th, td { padding: .35rem .75rem; border: 1px solid var(--line); text-align: start;
  vertical-align: top; }
th { background: var(--code); }
.center { text-align: center; } .right { text-align: right; } .left { text-align: left; }
figure { margin: .8rem 0; }
img { display: block; max-width: 100%; max-height: 36rem; height: auto; border-radius: .4rem; }
figcaption, .attached { color: var(--faint); font-size: .875rem; }
details { margin: .8rem 0; border: 1px solid var(--line); border-radius: .4rem; }
summary { padding: .45rem .8rem; cursor: pointer; border-radius: .4rem; font-size: .9375rem; }
summary code { background: none; padding: 0; color: var(--faint); }
summary .status { color: var(--faint); font-size: .8125rem; margin-inline-start: .5em; }
summary .failed { color: var(--bad); }
details[open] > summary { border-bottom: 1px solid var(--line); border-radius: .4rem .4rem 0 0; }
details > .inside { padding: .7rem .8rem; }
.inside h3 { margin: .2rem 0 .35rem; font-size: .8125rem; color: var(--faint); font-weight: 600; }
.inside > pre + h3 { margin-top: .9rem; }
.inside pre { max-height: 30rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.thought { border-style: dashed; color: var(--faint); }
footer { margin-top: 2.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media (max-width: 40rem) {
  body { padding: 1.5rem .75rem 3rem; font-size: 1rem; }
  article { padding-inline: .75rem; }
}
@page { margin: 2cm; }
@media print {
  :root { --ground: #fff; --ink: #000; --faint: #444; --line: #bbb; --person: #f4f4f4;
    --code: #f4f4f4; --link: #000; --mark: #444; --warn: #000; --warn-ground: #f4f4f4;
    --bad: #000; color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  .who a { display: none; }
  pre, .inside pre { white-space: pre-wrap; overflow-wrap: anywhere; max-height: none; }
  details::details-content { content-visibility: visible; }
  h1, h2, h3, h4, .who, summary { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  article.user, th, pre { print-color-adjust: exact; }
  .said a[href^="http"]::after { content: " (" attr(href) ")"; color: var(--faint); }
}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def page(*, title: str, header: str, body: str, footer: str) -> str:
    """A whole document. `title` is text; the other three are HTML already."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="Palaver">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
{header}
</header>
<main>
{body}
</main>
<footer>{footer}</footer>
</body>
</html>
"""
