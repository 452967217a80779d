"""The page for operators in a real Chromium, while somebody else keeps the proxy busy: what it shows,
what it does, and whether people can use it who hear it, use no mouse, or have a small screen."""

import argparse
import json
import os
import pathlib
import time

import axe_core_python
from checks import check, equal, expect, run
from chromium import Browser

WIDE, NARROW = 1440, 360
AXE = pathlib.Path(axe_core_python.__file__).with_name("axe.min.js")


class Dashboard:
    def __init__(self, given):
        self.url = given.url.rstrip("/")
        self.plugin = given.plugin
        self.canary = given.canary
        self.screens = given.screens
        self.token = given.token
        self.browser = Browser(given.chromium)
        self.page = self.browser.page()
        # Nothing moves while it is looked at.
        self.page.prefers("light", still=True)
        self.page.size(WIDE, 900)
        self.page.go(self.url + "/")

    def api(self, path):
        """What the proxy says, asked by the page."""
        return self.page.evaluate(f"fetch({json.dumps(path)}).then((it) => it.json())")

    def text(self, selector):
        return self.page.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent ?? null")

    def tile(self, name):
        return self.text(f"[data-tile={name}] dd")

    def generation(self):
        """Of the plugin, as the proxy says."""
        plugins = self.api("/plugins")["plugins"]
        return next(it["generation"] for it in plugins if it["name"] == self.plugin)

    def shown(self):
        """The same, as the page shows."""
        row = json.dumps(f"tr[data-key='plugins {self.plugin}'] [data-generation]")
        told = self.page.evaluate(f"document.querySelector({row})?.dataset.generation ?? null")
        return told and int(told)

    def button(self, act):
        return f"button[data-act={act}][data-kind=plugins][data-name={self.plugin}]"

    def forgive(self, status, path):
        """The browser itself complains of a status in its console: once, and of nothing else."""
        complaints = [it for it in self.page.complaints if str(status) in it and path in it]
        equal(len(complaints), 1, f"complaints of {status}")
        self.page.complaints.remove(complaints[0])

    def ran(self, seconds):
        """Waits until the proxy has so many samples, of a second each."""
        until = time.monotonic() + 60
        while self.api("/overview")["history"]["next"] < seconds:
            expect(time.monotonic() < until, "the samples come")
            self.page.evaluate("new Promise((done) => setTimeout(done, 500))")

    def minute(self):
        """The last minute is shown, so that a short run fills the charts."""
        self.page.until("!document.getElementById('ask').open", "the dialog closes")
        self.page.click("#window label:nth-of-type(1)")
        self.page.until("document.querySelector('#window input[value=\"60\"]').checked", "a minute is shown")

    def shoot(self, name):
        """The whole page, as high as it is."""
        width = self.page.evaluate("innerWidth")
        high = self.page.evaluate("document.documentElement.scrollHeight")
        self.page.size(width, high, phone=width <= NARROW)
        self.page.until(f"innerHeight === {high}", "the page is laid out")
        self.page.shoot(os.path.join(self.screens, f"{name}.png"))
        self.page.size(width, 900, phone=width <= NARROW)


@check
def it_loads_and_says_that_the_proxy_is_ready(dash):
    """Six tiles, eight charts, and a state."""
    dash.page.until("document.querySelectorAll('.tile').length === 6", "the tiles are there")
    dash.page.until("document.getElementById('state-text').textContent === 'Ready'", "the state is told")
    equal(dash.page.evaluate("document.querySelectorAll('figure.chart').length"), 8, "charts")
    expect(dash.page.evaluate("document.title").endswith("Tollgate"), "the title")


@check
def figures_are_shown_and_change(dash):
    """Requests, percentiles and the time in plugins are those of the traffic."""
    value = "document.querySelector('[data-tile=requests] dd').textContent"
    dash.page.until(f"parseFloat({value}) > 0", "requests are counted")
    dash.page.until("/\\d/.test(document.querySelector('[data-tile=latency] dd').textContent)", "latency is told")
    dash.page.until("/\\d/.test(document.querySelector('[data-tile=first] dd').textContent)", "the first byte is told")
    dash.page.until("parseFloat(document.querySelector('[data-tile=tokens] dd').textContent) > 0", "tokens are told")
    legend = f"document.querySelector(\"[data-chart=guests] [data-series='guests.{dash.plugin}'] b\")?.textContent"
    dash.page.until(f"/[1-9]/.test({legend})", "the time in the plugin is told")
    before = dash.page.evaluate("document.querySelector('[data-chart=traffic] path.series').getAttribute('d')")
    dash.page.until(
        f"document.querySelector('[data-chart=traffic] path.series').getAttribute('d') !== {json.dumps(before)}",
        "the chart goes on",
    )
    overview = dash.api("/overview")
    expect(overview["last-minute"]["requests"] > 0, "the proxy counts none")
    batches = sum(it["requests"] for it in overview["batch-sizes"])
    expect(batches > 0, "no batch was seen")
    dash.page.until("document.querySelectorAll('[data-chart=batches] rect').length > 0", "batches are drawn")


@check
def a_page_asks_only_for_what_is_new(dash):
    """Once it has the samples that are kept, each question brings one or a few."""
    mark = len(dash.page.requests)
    dash.page.until("performance.now() > 0", "the page runs")
    until = time.monotonic() + 30
    asked = []
    while len(asked) < 3 and time.monotonic() < until:
        dash.page.evaluate("new Promise((done) => setTimeout(done, 500))")
        asked = [url for url in dash.page.requests[mark:] if "/overview?since=" in url]
    numbers = [int(url.rsplit("=", 1)[1]) for url in asked]
    expect(len(numbers) >= 3 and numbers == sorted(numbers) and numbers[0] > 0, "it asks", numbers)


@check
def errors_are_shown_without_what_was_asked(dash):
    """The bad requests of the traffic are in the table; the canary in them is nowhere."""
    dash.page.until("document.querySelectorAll('#failures tbody tr').length > 0", "errors are shown")
    refused = dash.text("#failures tbody")
    expect("all" in refused, "the route is named", refused)
    for path in ("/errors", "/overview", "/status", "/config", "/metrics"):
        body = dash.page.evaluate(f"fetch('{path}').then((it) => it.text())")
        expect(dash.canary not in body, f"{path} tells what was asked")
    expect(dash.canary not in dash.page.evaluate("document.documentElement.innerHTML"), "the page tells it")


@check
def light_and_dark_are_the_systems_or_ones_own(dash):
    """The system's wish is followed, and the button overrules it, also after a reload."""
    ground = "getComputedStyle(document.body).backgroundColor"
    dash.page.prefers("light", still=True)
    light = dash.page.evaluate(ground)
    dash.page.prefers("dark", still=True)
    dark = dash.page.evaluate(ground)
    expect(light != dark, "dark is as light", light)
    dash.page.click("#theme")
    equal(dash.text("#theme"), "Theme: light", "the button")
    equal(dash.page.evaluate(ground), light, "light against the system")
    dash.page.go(dash.url + "/")
    dash.page.until("document.querySelectorAll('.tile').length === 6", "the page is there again")
    equal(dash.page.evaluate(ground), light, "light after a reload")
    dash.page.click("#theme")
    dash.page.click("#theme")
    equal(dash.text("#theme"), "Theme: system", "the button")
    dash.page.prefers("light", still=True)


@check
def axe_finds_nothing(dash):
    """axe-core's rules, contrast included, in both themes, wide and narrow, and in the dialog."""
    dash.page.evaluate(AXE.read_text() + "; 0")
    ask = """axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations.map((it) =>
        [it.id, it.impact, it.nodes.slice(0, 3).map((node) => node.html.slice(0, 120) + ' ' + node.failureSummary.slice(0, 200))]))"""
    for scheme in ("light", "dark"):
        dash.page.prefers(scheme, still=True)
        for width in (WIDE, NARROW):
            dash.page.size(width, 900, phone=width == NARROW)
            equal(dash.page.evaluate(ask), [], f"violations, {scheme} at {width}")
        dash.page.size(WIDE, 900)
        dash.page.click(dash.button("swap"))
        dash.page.until("document.getElementById('ask').open", "the dialog opens")
        equal(dash.page.evaluate(ask), [], f"violations in the dialog, {scheme}")
        dash.page.shoot(os.path.join(dash.screens, f"dashboard-dialog-{scheme}.png"), whole=False)
        dash.page.click("#ask-no")
    dash.page.prefers("light", still=True)


@check
def whoever_hears_it_is_told_what_is_what(dash):
    """Each control has a name, each table a caption, each chart a description with figures."""
    tree = dash.page.call("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "link", "radio", "textbox", "spinbutton", "table", "DisclosureTriangle", "img", "image"}
    seen = set()
    for node in tree:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in controls:
            continue
        seen.add(role)
        name = node.get("name", {}).get("value", "").strip()
        expect(name, f"a {role} has no name", node.get("backendDOMNodeId"))
    expect({"button", "link", "radio", "table"} <= seen, "roles", seen)
    names = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "button" and not node.get("ignored")]
    acts = [name for name in names if name.startswith(("Swap", "Roll back", "Drain"))]
    equal(len(acts), len(set(acts)), "buttons that cannot be told apart")
    landmarks = {node["role"]["value"] for node in tree if not node.get("ignored") and "role" in node}
    for wanted in ("banner", "main", "contentinfo", "region", "heading"):
        expect(wanted in landmarks, f"no {wanted}")
    chart = dash.page.evaluate("document.querySelector('[data-chart=traffic] .plot').getAttribute('aria-label')")
    expect("Requests" in chart and any(it.isdigit() for it in chart), "a chart says", chart)
    dash.page.evaluate("document.querySelector('[data-chart=latency] summary').click()")
    dash.page.until("document.querySelectorAll('[data-chart=latency] details td').length === 12", "a chart is a table too")
    dash.page.evaluate("document.querySelector('[data-chart=latency] summary').click()")


@check
def a_keyboard_is_enough(dash):
    """The way to the figures, moving in time, the dialog and back, with the focus seen."""
    dash.page.go(dash.url + "/")
    dash.page.until("document.querySelectorAll('button[data-act=swap]').length > 0", "the page is there again")
    dash.page.key("Tab", number=9)
    equal(dash.page.evaluate("document.activeElement.className"), "skip", "the first stop")
    seen = dash.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    expect(seen != "none", "the focus is not seen")
    dash.page.evaluate("document.querySelector('[data-chart=traffic] .plot').focus()")
    dash.page.key("ArrowLeft", number=37)
    told = dash.page.until("document.getElementById('readout').textContent", "the moment is told")
    expect("all" in told, "what is told", told)
    equal(dash.page.evaluate("document.querySelectorAll('[data-chart=traffic] .hair').length"), 1, "hair lines")
    dash.page.key("Escape", number=27)
    equal(dash.page.evaluate("document.querySelectorAll('.hair').length"), 0, "hair lines after Escape")
    button = json.dumps(dash.button("swap"))
    dash.page.evaluate(f"document.querySelector({button}).focus()")
    dash.page.key("Enter", number=13, text="\r")
    dash.page.until("document.getElementById('ask').open", "Enter opens the dialog")
    expect(dash.page.evaluate("document.getElementById('ask').contains(document.activeElement)"), "the focus is elsewhere")
    dash.page.key("Escape", number=27)
    dash.page.until("!document.getElementById('ask').open", "Escape closes it")
    # Rows are brought up to date while the dialog is open: the button is still the same.
    equal(dash.page.evaluate("document.activeElement.dataset.act"), "swap", "the focus afterwards")
    dash.page.evaluate("new Promise((done) => setTimeout(done, 2500))")
    equal(dash.page.evaluate("document.activeElement.dataset.act"), "swap", "the focus after two turns")


@check
def what_should_not_move_does_not(dash):
    """With reduced motion nothing is animated."""
    moving = dash.page.evaluate(
        """[...document.querySelectorAll('*')].filter((it) => { const style = getComputedStyle(it);
        return style.animationName !== 'none' || !/^0s(, 0s)*$/.test(style.transitionDuration); }).length"""
    )
    equal(moving, 0, "moving elements")


@check
def a_swap_is_confirmed_and_really_happens(dash):
    """The generation changes at the proxy, in the table, on the charts and among the changes."""
    first = dash.generation()
    dash.page.until(f"{first} > 0", "the generation is known")
    dash.page.click(dash.button("swap"))
    dash.page.until("document.getElementById('ask').open", "the dialog opens")
    equal(dash.generation(), first, "the generation before it is confirmed")
    dash.page.click("#ask-yes")
    dash.page.until("document.getElementById('ask-outcome').dataset.is === 'bad'", "without a token it is refused")
    expect("a token is needed" in dash.text("#ask-outcome"), "why", dash.text("#ask-outcome"))
    equal(dash.page.evaluate("document.activeElement.id"), "ask-token-value", "the focus")
    equal(dash.generation(), first, "the generation without a token")
    dash.forgive(401, f"/plugins/{dash.plugin}/swap")
    dash.page.write(dash.token)
    dash.page.shoot(os.path.join(dash.screens, "dashboard-token.png"), whole=False)
    dash.page.click("#ask-yes")
    dash.page.until("document.getElementById('ask-outcome').textContent.startsWith('Done')", "it is done")
    second = dash.generation()
    expect(second != first, "the generation is the same", second)
    expect(str(second) in dash.text("#ask-outcome"), "the outcome names it", dash.text("#ask-outcome"))
    dash.page.click("#ask-yes")
    dash.page.until("!document.getElementById('ask').open", "the dialog closes")
    row = json.dumps(f"tr[data-key='plugins {dash.plugin}'] [data-generation='{second}']")
    dash.page.until(f"document.querySelector({row}) !== null", "the table shows it")
    dash.page.until("document.querySelectorAll('[data-chart=traffic] [data-change=swapped]').length === 1", "the chart marks it")
    dash.page.until(f"document.getElementById('changes').textContent.includes('swapped from generation {first} to {second}')", "it is among the changes")


@check
def a_roll_back_too(dash):
    """And one that cannot be says why."""
    before = dash.generation()
    dash.page.until(f"document.querySelector({json.dumps(dash.button('rollback'))}) !== null", "it can be rolled back")
    dash.page.click(dash.button("rollback"))
    dash.page.until("document.getElementById('ask').open", "the dialog opens")
    dash.page.click("#ask-yes")
    dash.page.until("document.getElementById('ask-outcome').textContent.startsWith('Done: rolled-back')", "it is done")
    expect(dash.generation() != before, "the generation is the same", before)
    dash.page.click("#ask-yes")
    dash.minute()
    dash.shoot("dashboard-after-swap")
    dash.page.click("#window label:nth-of-type(2)")


@check
def a_refusal_is_told_with_what_to_do(dash):
    """In the dialog, and the dialog stays."""
    dash.page.until(f"document.querySelector({json.dumps(dash.button('swap'))}) !== null", "the button is there")
    dash.page.evaluate(f"document.querySelector({json.dumps(dash.button('swap'))}).dataset.name = 'nobody'")
    dash.page.evaluate("document.querySelector('button[data-act=swap][data-name=nobody]').click()")
    dash.page.until("document.getElementById('ask').open", "the dialog opens")
    dash.page.click("#ask-yes")
    said = dash.page.until("document.getElementById('ask-outcome').dataset.is === 'bad' && document.getElementById('ask-outcome').textContent", "it is refused")
    expect("there is no plugin nobody" in said and "GET /plugins" in said, "what is said", said)
    dash.page.click("#ask-no")
    dash.forgive(404, "/plugins/nobody/swap")


@check
def a_page_of_another_site_does_nothing(dash):
    """Without a header that it cannot set, with a frame that stays empty."""
    before = dash.generation()
    other = dash.browser.page()
    swap = json.dumps(f"{dash.url}/plugins/{dash.plugin}/swap")
    other.evaluate(f"fetch({swap}, {{method: 'POST', mode: 'no-cors'}}).then(() => 1, () => 1)")
    header = "{method: 'POST', headers: {'x-tollgate-operator': 'x'}}"
    refused = other.evaluate(f"fetch({swap}, {header}).then(() => 'read', () => 'refused')")
    equal(refused, "refused", "with the header")
    read = other.evaluate(f"fetch({json.dumps(dash.url + '/status')}).then(() => 'read', () => 'refused')")
    equal(read, "refused", "reading")
    equal(dash.generation(), before, "the generation")
    framed = other.evaluate(
        f"""new Promise((done) => {{ const frame = document.createElement('iframe'); frame.src = {json.dumps(dash.url + '/')};
        frame.onload = () => done(frame.contentDocument === null); document.body.append(frame); }})"""
    )
    expect(framed, "the frame can be read")
    blocked = [it for it in other.complaints if "frame-ancestors" in it or "X-Frame-Options" in it]
    expect(blocked, "the browser does not say that it refused the frame", other.complaints)
    other.close()
    # A page that is not seen asks nothing.
    dash.page.call("Page.bringToFront")
    dash.page.until("document.visibilityState === 'visible'", "the page is seen again")


@check
def a_draining_worker_is_shown_and_comes_back(dash):
    """By its button, while clients are refused and then served again."""
    worker = dash.api("/workers")["workers"][0]["name"]
    dash.page.click(f"button[data-act=drain][data-name='{worker}']")
    dash.page.until("document.getElementById('ask').open", "the dialog opens")
    dash.page.click("#ask-yes")
    dash.page.until("document.getElementById('ask-outcome').textContent.startsWith('Done')", "it is drained")
    equal(dash.api("/workers")["workers"][0]["draining"], True, "draining")
    dash.page.click("#ask-yes")
    dash.page.until(f"document.querySelector(\"button[data-act=resume][data-name='{worker}']\") !== null", "it can be resumed")
    dash.page.click(f"button[data-act=resume][data-name='{worker}']")
    dash.page.until("document.getElementById('ask').open", "the dialog opens")
    dash.page.click("#ask-yes")
    dash.page.until("document.getElementById('ask-outcome').textContent.startsWith('Done')", "it is back")
    equal(dash.api("/workers")["workers"][0]["accepting"], True, "accepting")
    dash.page.click("#ask-yes")


@check
def pictures_of_it_are_kept(dash):
    """Wide, light and dark; as wide as a phone; nothing has to be scrolled sideways. By now it was busy
    for so long that there is something to be seen."""
    dash.ran(25)
    dash.minute()
    overview = dash.api("/overview")
    sizes = [it["size"] for it in overview["batch-sizes"] if it["requests"]]
    expect(len(sizes) >= 3, "batches of several sizes", sizes)
    columns = overview["history"]["columns"]
    expect(max(columns["queued"]) > 0, "nobody waited", columns["queued"])
    points = sum(it is not None for it in columns["took"]["p99"])
    expect(points >= 15, "the percentiles make a curve", points)
    expect(dash.page.evaluate("document.querySelectorAll('[data-chart=latency] [data-change]').length") > 0, "changes are marked")
    expect(dash.page.evaluate("document.querySelectorAll('#failures tbody tr').length") > 1, "errors are shown")
    for width, phone, scheme in [(WIDE, False, "light"), (WIDE, False, "dark"), (NARROW, True, "light"), (NARROW, True, "dark")]:
        dash.page.prefers(scheme, still=True)
        dash.page.size(width, 900, phone=phone)
        dash.page.until(f"innerWidth === {width}", "the page has that width")
        wide = dash.page.evaluate("document.documentElement.scrollWidth")
        expect(wide <= width, f"{scheme} at {width} is too wide", wide)
        over = dash.page.evaluate(
            f"""[...document.querySelectorAll('body *')].filter((it) => !it.closest('.hidden, .skip, thead, dialog'))
            .filter((it) => it.getBoundingClientRect().right > {width} + 1).map((it) => it.outerHTML.slice(0, 80)).slice(0, 5)"""
        )
        equal(over, [], f"what stands out at {width}")
        dash.shoot(f"dashboard-{scheme}-{width}")
    dash.page.size(WIDE, 900)
    dash.page.prefers("light", still=True)
    dash.page.click("#window label:nth-of-type(2)")


@check
def pausing_and_the_time_shown_are_minded(dash):
    """Paused it asks nothing; ten minutes are ten minutes."""
    dash.page.click("#pause")
    equal(dash.page.evaluate("document.getElementById('pause').getAttribute('aria-pressed')"), "true", "pressed")
    dash.page.evaluate("new Promise((done) => setTimeout(done, 1500))")
    mark = len(dash.page.requests)
    dash.page.evaluate("new Promise((done) => setTimeout(done, 2500))")
    equal([it for it in dash.page.requests[mark:] if "/overview" in it], [], "questions while paused")
    dash.page.click("#pause")
    dash.page.click("#window label:nth-of-type(3)")
    dash.page.until("document.querySelector('[data-chart=traffic] .tick[text-anchor=start]').textContent.includes('10')", "ten minutes are shown")
    dash.page.until("document.getElementById('state-text').textContent === 'Ready'", "it goes on")


@check
def nothing_was_complained_of_or_asked_elsewhere(dash):
    """No error or warning in the console, no request to another host."""
    equal(dash.page.complaints, [], "complaints")
    elsewhere = {url for url in dash.page.requests if not url.startswith(dash.url + "/") and url != dash.url}
    equal(elsewhere, set(), "requests elsewhere")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="the admin listener")
    parser.add_argument("--plugin", required=True, help="a plugin that the traffic uses")
    parser.add_argument("--canary", required=True, help="a word that bad requests hold")
    parser.add_argument("--token", required=True, help="of an operator: changes take one")
    parser.add_argument("--screens", required=True, help="folder for pictures")
    parser.add_argument("--chromium", help="the program; else TOLLGATE_CHROMIUM or the one on PATH")
    parser.add_argument("--only")
    given = parser.parse_args()
    dashboard = Dashboard(given)
    try:
        run(given, dashboard)
    finally:
        dashboard.browser.close()
