# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What MDN's HTTP Observatory would say of an answer: a score, a grade, and each rule that made it.

The rules are those of its algorithm 6, https://github.com/mdn/mdn-http-observatory as of August 2026: src/grader for
points and grades, src/scanner for how they are added up, src/analyzer/tests for each rule. They are written anew here,
because the Observatory itself asks public sites only, by their address in the world, and one page of each: not a page
of errors, not a maintenance page, not a box that is not public yet.

What differs: nobody is asked whether the site is on the browsers' preload list (5 points); another machine of the same
domain counts as a stranger; several policies are joined as browsers do it, without what has no effect in a page.
Otherwise both agreed on some thousand made-up answers, but for what no site sends.

Pure: no network, no file, nothing of the suite. Headers are {name in lower case: value}, several of one name joined by
a line break, as outside.request gives them.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse
from dataclasses import dataclass
from html.parser import HTMLParser

GRADES = ((100, "A+"), (90, "A"), (85, "A-"), (80, "B+"), (70, "B"), (65, "B-"), (60, "C+"), (50, "C"), (45, "C-"),
          (40, "D+"), (30, "D"), (25, "D-"), (0, "F"))  # fmt: skip
# With fewer points than this, what was done well adds none.
BONUS_FROM = 90
# Half a year of 30-day months: the Observatory's own "white lie".
HALF_A_YEAR = 15_552_000


class Finding(t.NamedTuple):
    """What one rule says, and how many points that is."""

    rule: str
    modifier: int
    why: str

    def __str__(self) -> str:
        return f"{self.modifier:+d} {self.rule}: {self.why}"


@dataclass(frozen=True)
class Verdict:
    findings: tuple[Finding, ...]

    @property
    def score(self) -> int:
        """Begins with 100. Bonus counts only for who has lost at most ten points."""
        lost = 100 + sum(item.modifier for item in self.findings if item.modifier < 0)
        return max(0, 100 + sum(item.modifier for item in self.findings) if lost >= BONUS_FROM else lost)

    @property
    def grade(self) -> str:
        return next(grade for least, grade in GRADES if self.score >= least)

    def lost(self, *but: str) -> list[Finding]:
        """The findings that cost points, except those of some rules."""
        return [item for item in self.findings if item.modifier < 0 and item.rule not in but]

    def __str__(self) -> str:
        return f"{self.score} points, {self.grade} ({'; '.join(map(str, self.lost())) or 'none lost'})"

    def table(self) -> str:
        """Every rule, those that cost points first."""
        lines = (f"    {item}" for item in sorted(self.findings, key=lambda item: item.modifier))
        return "\n".join([f"{self.score} points, {self.grade}", *lines])


@dataclass(frozen=True)
class Answer:
    """One answer, with what was seen around it; None is what was not looked at, and then not judged."""

    name: str
    headers: dict[str, str]
    body: str = ""
    # Whether browsers trust the certificate.
    verified: bool = True
    # Where one gets to from http://name/, step by step, itself the first.
    route: list[str] | None = None
    # The headers of the answer to OPTIONS, asked for by this origin.
    cors: dict[str, str] | None = None
    origin: str = ""
    # Over http, browsers would not believe what is said about TLS.
    https: bool = True


def judge(answer: Answer) -> Verdict:
    """All rules that apply to what was looked at."""
    page = Page(answer.body) if is_html(answer.headers) else Page("")
    findings = [
        content_security_policy(answer.headers, page),
        cookies(answer),
        embedder_policy(answer.headers),
        opener_policy(answer.headers),
        resource_policy(answer.headers),
        referrer_policy(answer.headers, page),
        integrity(answer, page),
        content_type_options(answer.headers),
        frame_options(answer.headers, page),
    ]
    if answer.https:
        findings.append(transport_security(answer))
    if answer.cors is not None:
        findings.append(sharing(answer.cors, answer.origin))
    if answer.route is not None:
        findings.append(redirection(answer.route, answer.verified))
    return Verdict(tuple(findings))


def values(headers: dict[str, str], name: str) -> list[str]:
    return headers[name].split("\n") if name in headers else []


def is_html(headers: dict[str, str]) -> bool:
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    return kind in ("", "text/html", "application/xhtml+xml")


class Page(HTMLParser):
    """The scripts of a page, and what it says in place of headers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str]] = []
        self.equivalents: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script":
            self.scripts.append(given)
        elif tag == "meta" and given.get("http-equiv"):
            self.equivalents.setdefault(given["http-equiv"].lower(), []).append(given.get("content", ""))


# Content-Security-Policy

BROAD = {"ftp:", "http:", "https:", "*", "http://*", "http://*.*", "https://*", "https://*.*"}
INLINE = {"'unsafe-inline'", "data:"}
PASSIVE = ("img-src", "media-src")
NOT_IN_PAGES = ("frame-ancestors", "report-uri", "sandbox")
# Directives that fall back to default-src.
FETCH = {"child-src", "connect-src", "font-src", "frame-src", "img-src", "manifest-src", "media-src", "object-src",
         "script-src", "style-src", "worker-src"}  # fmt: skip
KEYED = ("'sha256-", "'sha384-", "'sha512-", "'nonce-")


class PolicyError(ValueError):
    """What browsers may take otherwise than its author meant it."""


class Policies:
    """All policies of an answer. A browser allows only what each of them allows."""

    def __init__(self, texts: list[str]) -> None:
        self.repeated = False
        self._policies = [self._parse(text) for text in texts]

    def _parse(self, text: str) -> dict[str, set[str]]:
        # No directive is shorter.
        if len(text.strip()) < len("img-src") - 1:
            raise PolicyError(f"not a policy: {text.strip()!r}")
        policy: dict[str, set[str]] = {}
        for words in map(str.split, text.split(";")):
            if not words:
                continue
            name = words[0].lower()
            if name in policy and name not in ("report-uri", "report-to"):
                raise PolicyError(f"{name} stands there twice")
            self.repeated |= name in policy
            sources = {word.lower() for word in words[1:]}
            policy.setdefault(name, sources or ({"'none'"} if name.endswith("-src") else set()))
        return policy

    @property
    def names(self) -> set[str]:
        return {name for policy in self._policies for name in policy}

    def __bool__(self) -> bool:
        return bool(self.names)

    def allowed(self, directive: str) -> set[str]:
        """The sources that all policies agree on; everything, if none says anything."""
        both = {"*"}
        for policy in self._policies:
            sources = policy.get(directive, policy.get("default-src") if directive in FETCH else None)
            if sources is not None:
                both = sources if both == {"*"} else both if sources == {"*"} else both & sources or {"'none'"}
        return set(both)


def policies(headers: dict[str, str], page: Page | None = None) -> Policies:
    """Those of the headers, and those of the page, which may not say everything."""
    texts = [text for value in values(headers, "content-security-policy") for text in value.split(",")]
    for value in page.equivalents.get("content-security-policy", []) if page else []:
        parts = [part for part in value.split(";") if part.split()[:1] and part.split()[0].lower() not in NOT_IN_PAGES]
        texts += [";".join(parts)] if parts else []
    return Policies(texts)


def content_security_policy(headers: dict[str, str], page: Page) -> Finding:
    rule = "Content-Security-Policy"
    try:
        policy = policies(headers, page)
    except PolicyError as error:
        return Finding(rule, -25, str(error))
    if not policy:
        only = "content-security-policy-report-only" in headers
        return Finding(rule, -25, "only reports, nothing is forbidden" if only else "there is none")
    scripts, styles, objects = (policy.allowed(f"{kind}-src") for kind in ("script", "style", "object"))
    keyed = any(source.startswith(KEYED) for source in scripts)
    for sources in (scripts, styles):
        if any(source.startswith(KEYED) for source in sources):
            # Browsers that know keys forget the other.
            sources.discard("'unsafe-inline'")
    if "'strict-dynamic'" in scripts:
        if not keyed:
            return Finding(rule, -25, "'strict-dynamic' without a key that scripts could show")
        scripts = {item for item in scripts if not item.startswith(tuple(BROAD)) and item != "'self'"}
    active = {item for name in policy.names - {*PASSIVE, "script-src"} for item in policy.allowed(name)} | scripts
    passive = {item for name in PASSIVE for item in policy.allowed(name)} if policy.names & {*PASSIVE, "default-src"} \
        else set()  # fmt: skip
    insecure = ("http:", "ftp:")
    # The first that applies is what counts.
    if scripts & (BROAD | INLINE) or objects & BROAD:
        found = ", ".join(sorted(scripts & (BROAD | INLINE))) or "objects of anywhere"
        return Finding(rule, -20, f"scripts may come from {found}")
    if any(item.startswith(insecure) for item in active):
        return Finding(rule, -20, "things may be loaded over http")
    if "'unsafe-eval'" in scripts | styles:
        return Finding(rule, -10, "'unsafe-eval' makes text a program")
    if any(item.startswith(insecure) for item in passive):
        return Finding(rule, -10, "pictures may be loaded over http")
    if policy.repeated:
        return Finding(rule, 0, "says twice whom to report to")
    if styles & (BROAD | INLINE):
        return Finding(rule, 0, "unsafe for styles only")
    if policy.allowed("default-src") == {"'none'"} and "default-src" in policy.names:
        return Finding(rule, 10, "nothing but what is named, and nothing unsafe")
    return Finding(rule, 5, "nothing unsafe")


def frame_options(headers: dict[str, str], page: Page) -> Finding:
    """Who may show the site in a frame. The policy's word replaces the older header's; in a page it has no effect."""
    rule = "X-Frame-Options"
    try:
        policies(headers, page)
        by_policy = "frame-ancestors" in policies(headers).names
    except PolicyError:
        by_policy = False
    value = (values(headers, "x-frame-options") or [""])[0].strip().lower()
    if by_policy:
        return Finding(rule, 5, "frame-ancestors of the policy")
    if value in ("deny", "sameorigin"):
        return Finding(rule, 5, value)
    if value.startswith("allow-from"):
        return Finding(rule, 0, "allow-from, which browsers do not know any more")
    return Finding(rule, -20, f"not known: {value}" if value else "there is none")


# Cookies

# From the least bad on: of several cookies, the worst counts.
COOKIES = (
    (-5, "without Secure, but the browser stays with TLS"),
    (-20, "without Secure"),
    (-10, "a session's without Secure, but the browser stays with TLS"),
    (-20, "SameSite is none of Strict, Lax, None; or None without Secure"),
    (-20, "one against forged requests without SameSite"),
    (-30, "a session's without HttpOnly"),
    (-40, "a session's without Secure"),
)


SITES = ("lax", "strict", "none")


def cookies(answer: Answer) -> Finding:
    rule = "cookies"
    found = [cookie(text) for text in values(answer.headers, "set-cookie")]
    found = [item for item in found if item[0] not in ("", "heroku-session-affinity")]
    if not found:
        return Finding(rule, 0, "none")
    stays = answer.https and transport_security(answer).modifier >= 0
    faults = {(fault, name) for name, given in found for fault in cookie_faults(name, given, stays)}
    if faults:
        worst, name = max(faults)
        return Finding(rule, COOKIES[worst][0], f"{name}: {COOKIES[worst][1]}")
    if all(given.get("samesite") for _name, given in found):
        return Finding(rule, 5, "Secure, HttpOnly, SameSite")
    return Finding(rule, 0, "Secure, and HttpOnly for sessions; SameSite is missing")


def cookie(text: str) -> tuple[str, dict[str, str]]:
    """Its name, and what is said about it (an attribute without a value is its own)."""
    first, *rest = text.split(";")
    pairs = [part.strip().partition("=") for part in rest]
    given = [(name.strip().lower(), value.strip() or name) for name, _equals, value in pairs]
    # Said twice, the one that nobody knows is what counts.
    given.sort(key=lambda pair: pair[0] == "samesite" and pair[1].lower() not in SITES)
    return first.partition("=")[0].strip(), dict(given)


def cookie_faults(name: str, given: dict[str, str], stays: bool) -> t.Iterator[int]:
    lower, secure, site = name.lower(), "secure" in given, given.get("samesite", "").lower()
    session = "login" in lower or "sess" in lower
    if (site and site not in SITES) or (site == "none" and not secure):
        yield 3
    if not secure:
        yield 0 if stays else 1
    if "csrf" in lower and not site:
        yield 4
    if session and not secure:
        yield 2 if stays else 6
    if session and "httponly" not in given:
        yield 5


# Who may use the site's answers, and whom the site tells what


def token(headers: dict[str, str], name: str) -> str | None:
    """The one word of a structured header, without its parameters; None if it is no such thing, or said twice."""
    found = values(headers, name)
    match = re.match(r"\s*([A-Za-z*][\w!#$%&'*+.^`|~:/-]*)\s*(;[^,]*)?$", found[0]) if len(found) == 1 else None
    return match.group(1) if match else None


def one_word(headers: dict[str, str], rule: str, points: dict[str, int]) -> Finding:
    """A header of one word that is no fault when it is missing."""
    name = rule.lower()
    if name not in headers:
        return Finding(rule, 0, "there is none")
    word = token(headers, name)
    if word not in points:
        return Finding(rule, -5, f"not known: {' '.join(values(headers, name))}")
    return Finding(rule, points[word], word)


def opener_policy(headers: dict[str, str]) -> Finding:
    points = {"same-origin": 10, "same-origin-allow-popups": 10, "noopener-allow-popups": 10, "unsafe-none": 0}
    return one_word(headers, "Cross-Origin-Opener-Policy", points)


def embedder_policy(headers: dict[str, str]) -> Finding:
    points = {"require-corp": 10, "credentialless": 10, "unsafe-none": 0}
    return one_word(headers, "Cross-Origin-Embedder-Policy", points)


def resource_policy(headers: dict[str, str]) -> Finding:
    rule, points = "Cross-Origin-Resource-Policy", {"same-origin": 10, "same-site": 10, "cross-origin": 0}
    word = headers.get(rule.lower(), "")
    return one_word({**headers, rule.lower(): word.lower()} if word else headers, rule, points)


def sharing(headers: dict[str, str], origin: str) -> Finding:
    rule = "CORS"
    allowed = (values(headers, "access-control-allow-origin") or [""])[0].strip()
    trusted = headers.get("access-control-allow-credentials", "").strip().lower() == "true"
    if not allowed:
        return Finding(rule, 0, "other sites see nothing")
    if allowed == "*":
        return Finding(rule, 0, "other sites see what is public")
    if allowed == origin and trusted:
        return Finding(rule, -50, "any site may act for who is logged in")
    return Finding(rule, 0, f"shared with {allowed}")


PRIVATE = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
TALKATIVE = {"origin", "origin-when-cross-origin", "unsafe-url", "no-referrer-when-downgrade"}


def referrer_policy(headers: dict[str, str], page: Page) -> Finding:
    rule = "Referrer-Policy"
    found = [*values(headers, "referrer-policy"), *page.equivalents.get("referrer-policy", [])]
    if not found:
        return Finding(rule, 0, "there is none")
    known = [word for value in found for word in re.split(r"[,\s]+", value.lower()) if word in PRIVATE | TALKATIVE]
    # The last one that browsers know is the one that holds.
    if known and known[-1] in PRIVATE:
        return Finding(rule, 5, known[-1])
    return Finding(rule, -5, known[-1] if known else f"not known: {' '.join(found)}")


def transport_security(answer: Answer) -> Finding:
    rule = "Strict-Transport-Security"
    found = values(answer.headers, "strict-transport-security")
    if not answer.verified:
        return Finding(rule, -20, "without effect: browsers do not trust the certificate")
    if not found:
        return Finding(rule, -20, "there is none")
    age = re.search(r"(?:^|;)\s*max-age=(\d+)", found[0], re.I)
    if not age or "," in found[0]:
        return Finding(rule, -20, f"not known: {found[0]}")
    if int(age.group(1)) < HALF_A_YEAR:
        return Finding(rule, -10, f"{found[0]}: less than half a year")
    return Finding(rule, 0, found[0])


def redirection(route: list[str], verified: bool) -> Finding:
    """The way that begins at http://."""
    rule = "redirection"
    steps = [urllib.parse.urlsplit(step) for step in route]
    if not steps:
        return Finding(rule, 0, "nobody answers by http")
    if not verified:
        return Finding(rule, -20, "to a certificate that browsers do not trust")
    if len(steps) == 1:
        return Finding(rule, -20, "http stays http")
    if steps[-1].scheme != "https":
        return Finding(rule, -20, f"ends at {route[-1]}")
    if steps[1].scheme == "http":
        return Finding(rule, -10, "from http to http first")
    if steps[0].hostname != steps[1].hostname:
        return Finding(rule, -5, f"to another name first: {route[1]}")
    return Finding(rule, 0, f"{route[0]} leads to {route[1]}")


def content_type_options(headers: dict[str, str]) -> Finding:
    rule = "X-Content-Type-Options"
    value = (values(headers, "x-content-type-options") or [""])[0].strip().lower()
    return Finding(rule, 0 if value == "nosniff" else -5, value or "there is none")


# Scripts of others

# From the least bad on, as the Observatory counts it.
SCRIPTS = (
    (-20, "a script of another site with a checksum, but over http"),
    (-5, "a script of another site without a checksum"),
    (-50, "a script of another site without a checksum, over http"),
)


def integrity(answer: Answer, page: Page) -> Finding:
    rule = "subresource integrity"
    if not is_html(answer.headers):
        return Finding(rule, 0, "not a page")
    if not page.scripts:
        return Finding(rule, 0, "no scripts")
    faults, foreign, summed = [], False, False
    for script in page.scripts:
        source, checksum = script.get("src", ""), bool(script.get("integrity"))
        relative = not re.match(r"//[^/]|https?://", source)
        where = urllib.parse.urlsplit(source).hostname or ""
        own = relative or (not source.startswith("//") and (where == answer.name or where.endswith(f".{answer.name}")))
        secure = relative or source.startswith("https:")
        if own:
            summed |= bool(source) and checksum and secure
            continue
        foreign = True
        if not (checksum and secure):
            faults.append(0 if checksum else 1 if secure else 2)
    if faults:
        return Finding(rule, *SCRIPTS[max(faults)])
    if foreign or summed:
        return Finding(rule, 5, "scripts have checksums")
    return Finding(rule, 0, "all scripts are the site's own")
