"""What axe says of each page in each state, that none is wider than the screen, and that hostile texts stay texts."""

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from apps.accounts.models import User
from apps.labeling.leasing import expire_leases
from apps.labeling.models import Assignment
from apps.projects.models import GuidelineVersion, Project
from apps.prompts.models import Prompt, Response
from tests.e2e.browser import axe_violations
from tests.factories import PASSWORD, MembershipFactory
from tests.hostile_texts import HOSTILE, PAYLOADS
from tests.pages.answering import fill_in

WHEN_STILL = "() => Promise.all(document.getAnimations().map((each) => each.finished)).then(() => null)"
pytestmark = pytest.mark.django_db(transaction=True)


def test_hostile_texts_stay_texts_wherever_they_stand(labeler, open_page):
    project = labeler.memberships.get().project
    text = "\n\n".join(each.replace("\x00", "") for each in HOSTILE)
    comparison = project.comparisons.order_by("pk").first()
    Prompt.objects.filter(comparisons=comparison).update(messages=[{"role": "user", "content": text}] * 3)
    Response.objects.filter(pk__in=[comparison.response_1_id, comparison.response_2_id]).update(text=text)
    Project.objects.update(name=PAYLOADS[2], protocol_settings={"justification_words": [0, 10_000]})
    GuidelineVersion.objects.update(text=text)
    User.objects.filter(pk=labeler.pk).update(first_name=PAYLOADS[0], last_name=PAYLOADS[2])
    page = open_page(labeler, "/projects/tides/queue/")
    opened, asked = [], []
    page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    for key in ("d", "r", "d", "d", "r", "g", "p"):
        page.keyboard.press(key)
    fill_in(page, why=text[:8000])
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Question number 2").first).to_be_attached()
    GuidelineVersion.objects.create(project=project, number=2, text=f"{text}\n\n{text[:500]}")
    for path in ("my-work/", "queue/", "guideline/"):
        page.goto(f"/projects/tides/{path}")
        page.wait_for_load_state("networkidle")
    assert opened == []
    assert [url for url in asked if "localhost" not in url] == []
    assert [line for line in page.console if "Failed to load resource" not in line] == []


# --- Axe ---


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(1440, 900, "light"), (390, 844, "dark")],
    ids=["desk in the light", "phone in the dark"],
)
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(labeler, open_page, width, height, scheme):
    project = labeler.memberships.get().project
    manager = MembershipFactory(project=project, user__username="mara", role="manager").user
    pair = project.comparisons.first()
    screen = {"width": width, "height": height}
    page = open_page(manager, "/", bypass_csp=True, color_scheme=scheme, viewport=screen)
    paths = ["", "queue/", "my-work/", "comparisons/", f"comparisons/{pair.pk}/", "reward-models/", "snapshots/"]
    paths += ["flags/", "quality/", "cohorts/", "settings/", f"cohorts/{project.cohorts.create(name='First').pk}/"]
    paths += ["members/", "guideline/", "queue/?open=guideline", "queue/?open=skip", "queue/?open=keys"]
    for path in ["/", "/account/tokens/", *(f"/projects/tides/{path}" for path in paths)]:
        page.goto(path)
        assert axe_violations(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert page.console == []


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(1440, 900, "dark"), (390, 844, "light"), (720, 450, "light")],
    ids=["desk in the dark", "phone", "twice as large"],
)
def test_axe_finds_nothing_in_any_state_of_the_page(labeler, open_page, width, height, scheme):
    screen = {"width": width, "height": height}
    # Without motion, or axe would measure the contrast of words that are just fading.
    window = {"bypass_csp": True, "color_scheme": scheme, "viewport": screen, "reduced_motion": "reduce"}
    page = open_page(labeler, "/projects/tides/queue/", **window)
    is_wide = width > 1200

    def check(state):
        assert axe_violations(page) == [], state
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state

    check("empty")
    page.keyboard.press("d")
    check("differences")
    page.keyboard.press("r")
    check("raw")
    if is_wide:
        page.keyboard.press("y")
        check("scrolling together")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems")).to_be_visible()
    check("errors")
    page.locator("#rating-1-correctness-0").focus()
    page.keyboard.press("x")
    check("problems of an attribute")
    page.keyboard.press("x")
    for key, dialog in (("g", "guideline"), ("?", "keys"), ("f", "skip")):
        page.keyboard.press(key)
        expect(page.locator(f"#{dialog}-dialog")).to_be_visible()
        page.evaluate(WHEN_STILL)
        check(dialog)
        page.keyboard.press("Escape")
    page.evaluate("scrollTo(0, document.querySelector('.panes').offsetTop + 300)")
    page.keyboard.press("p")
    check("the prompt in the bar")
    page.context.clear_cookies(name="sessionid")
    fill_in(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#sign-in-dialog")).to_be_visible()
    check("signed out")
    page.locator("#sign-in-password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in-dialog")).to_be_hidden()
    expect(page.locator("[data-draft-status]")).to_have_text("Draft saved")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Question number 2").first).to_be_attached()
    page.keyboard.press("u")
    expect(page.locator(".change-notice")).to_be_visible()
    check("re-opened")
    page.goto("/projects/tides/my-work/")
    check("my work")
    project = labeler.memberships.get().project
    GuidelineVersion.objects.create(project=project, number=2, text="Read both responses twice.\n\nNew line.")
    Assignment.objects.live().update(lease_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    expire_leases()  # what is held would be finished first
    page.goto("/projects/tides/queue/")
    check("guideline change")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Skip").click()
    page.keyboard.press("7")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    check("nothing left")
    assert [line for line in page.console if "401" not in line and "422" not in line] == []
