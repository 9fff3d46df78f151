"""The shop's widgets and agents, and visitors who may return."""

from dataclasses import dataclass
from random import Random
from typing import TypeVar

import orjson

from .clock import MINUTE, european_offset, go_micros, log_normal

_T = TypeVar("_T")


def pick(rng: Random, choices: tuple[_T, ...]) -> _T:
    """Choose one of several with equal probability."""
    return choices[int(rng.random() * len(choices))]


def chatlio_uuid(rng: Random) -> str:
    """Return an id as Chatlio generates it: with a variant digit from 4 to 7, where RFC 4122 wants 8 to b."""
    text = f"{rng.getrandbits(128):032x}"
    variant = "4567"[rng.getrandbits(2)]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def slack_id(rng: Random, prefix: str, length: int) -> str:
    """Return a Slack id of `length` characters."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ12345670"
    return prefix + "".join(letters[rng.getrandbits(5)] for _ in range(length - len(prefix)))


@dataclass(frozen=True)
class Agent:
    """A person who answers chats."""

    name: str
    email: str
    user_id: str

    @property
    def short_name(self) -> str:
        """First name and initial, as messages show it."""
        first, *_, last = self.name.split(" ")
        return f"{first} {last[0]}."


@dataclass(frozen=True)
class Widget:
    """One chat widget on one site, which announces its chats in one Slack channel."""

    id: str
    host: str
    workspace: str
    team_id: str
    lobby_id: str
    lobby_name: str
    channel_length: int
    reply_to: str
    languages: tuple[str, ...]
    agents: tuple[Agent, ...]
    zone: int | None

    def offset(self, micros: int) -> int:
        """The offset, in hours, in which this widget's transcripts write their times."""
        return european_offset(micros) if self.zone is None else self.zone


_SAM = Agent("Sam Lee", "sam@example.com", "U0AGENT77")
_PRIYA = Agent("Priya Raman", "priya@example.com", "U0AGENT12")
_MIKE = Agent("Mike O'Hara", "mike@example.com", "U04QZL8R1VD")
_JUERGEN = Agent("Jürgen Weiß", "juergen@example.com", "U05TBK2M9XA")
_SANNE = Agent("Sanne de Vries", "sanne@example.com", "U05WNP6C3HE")
_NOUR = Agent("Nour Haddad", "nour@example.com", "U06RGY1S7KT")

WIDGETS = (
    Widget("0f6e2c81-7d35-4b9a-5c10-9e42a7d3b658", "shop.example", "ridgeline", "T01ABCDEF", "C06LOBBY345",
           "live-chat", 11, "sales@example.com", ("en",), (_SAM, _PRIYA, _MIKE), -8),
    Widget("b37a9d04-1c8e-4f62-4da7-30f5c2e81b96", "laden.example", "ridgeline", "T01ABCDEF", "C06LADEN771",
           "chat-de", 11, "laden@example.com", ("de", "de", "de", "de", "en"), (_JUERGEN, _SANNE), None),
    Widget("5e81f0b2-a64d-4c37-7f29-d18b6e03c5a4", "winkel.example", "gracht", "T9K2LM4PQ", "C8LOBBYNL",
           "winkel", 9, "winkel@example.com", ("nl", "nl", "nl", "en"), (_SANNE,), None),
    Widget("c29d6a75-e803-41fb-6b5e-7a04f9d2c183", "world.example", "ridgeline", "T01ABCDEF", "C06WORLD902",
           "live-chat-world", 11, "world@example.net", ("en", "en", "en", "ar", "he"), (_NOUR, _PRIYA), 0),
)  # fmt: skip
_TRAFFIC = (0, 0, 0, 0, 0, 1, 1, 1, 2, 3)

_NAMES = {
    "en": (("Ana", "Grace", "Liam", "Zoë", "Tom", "Aisha", "Seán", "Mei", "Carlos", "Ruth"),
           ("Ruiz", "Okafor", "Smith", "O'Neill", "Chen", "Patel", "Walker", "MacDonald", "van Dyke", "Lee")),
    "de": (("Jürgen", "Heike", "Jörg", "Lena", "Björn", "Käthe", "Uwe", "Svenja"),
           ("Müller", "Schäfer", "Weiß", "Krüger", "Bauer", "von der Heide", "Özdemir")),
    "nl": (("Daan", "Fleur", "Joost", "Maaike", "Sjoerd", "Renée"),
           ("de Jong", "van den Berg", "Bakker", "Visser", "IJsselstein")),
    "ar": (("ليلى", "عمر", "فاطمة", "يوسف", "Layla", "Omar"), ("حداد", "الخطيب", "منصور", "Haddad")),
    "he": (("נועה", "דוד", "תמר", "איתן", "Noa", "David"), ("כהן", "לוי", "מזרחי", "Cohen")),
}  # fmt: skip

_PLACES = {
    "en": ("Austin, Texas, United States", "Seattle, Washington, United States",
           "Leeds, England, United Kingdom",
           "Toronto, Ontario, Canada", "Madrid, Madrid, Spain", "Cork, Munster, Ireland",
           "Pune, Maharashtra, India"),
    "de": ("Köln, Nordrhein-Westfalen, Germany", "München, Bayern, Germany", "Graz, Steiermark, Austria",
           "Zürich, Zürich, Switzerland"),
    "nl": ("Utrecht, Utrecht, Netherlands", "Groningen, Groningen, Netherlands",
           "Gent, Oost-Vlaanderen, Belgium"),
    "ar": ("Cairo, Cairo Governorate, Egypt", "Amman, Amman, Jordan", "Dubai, Dubai, United Arab Emirates"),
    "he": ("Haifa, Haifa District, Israel", "Tel Aviv, Tel Aviv District, Israel"),
}  # fmt: skip

_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64"
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_BROWSERS = (
    f"Mozilla/5.0 (X11; Linux x86_64) {_WEBKIT} Chrome/120.0.0.0 Safari/537.36",
    f"{_WINDOWS}) {_WEBKIT} Chrome/119.0.0.0 Safari/537.36",
    f"{_WINDOWS}; rv:121.0) Gecko/20100101 Firefox/121.0",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_APPLE} Version/17.1 Safari/605.1.15",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) {_APPLE} Version/17.2 Safari/604.1",
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {_WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36",
)

_MAIL_DOMAINS = ("example.org", "example.com", "example.net")
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_ASCII = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "ë": "e", "á": "a", " ": "-"})
_SLUG_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def slug(text: str) -> str:
    """Write a name as a Slack channel would: lower-case letters, digits and hyphens."""
    plain = text.lower().translate(_ASCII)
    return "".join(letter for letter in plain if letter in _SLUG_LETTERS).strip("-")


@dataclass(slots=True)
class Visitor:
    """A browser that visited one of the sites, and the known facts about its user."""

    uuid: str
    widget: Widget
    language: str
    name: str
    email: str
    user_id: str
    traits: dict[str, object]
    browser: str
    place: str
    location: str
    counter: int
    created_at: str
    address: str
    channel_id: str
    nickname: str
    busy_until: int = 0

    @property
    def handle(self) -> str:
        """The generated nickname: place and counter."""
        return f"{self.place}-{self.counter}"

    @property
    def screen_name(self) -> str:
        """The name in a transcript: the person's if known, else the handle."""
        return self.handle if self.nickname == self.place else f"{self.nickname}-{self.counter % 9 + 1}"

    def payload(self, page: str, referrer: str) -> dict[str, object]:
        """Return the `visitor` object in conversation and offline events, without its location."""
        return {
            "email": self.email,
            "UUID": self.uuid,
            "name": self.name,
            "identUserId": self.user_id,
            "identTraits": orjson.dumps(self.traits).decode() if self.traits else "",
            "userAgent": self.browser,
            "handle": self.handle,
            "currentPage": page,
            "referrerURL": referrer,
            "createdAt": self.created_at,
            "IPAddress": self.address,
        }


class Crowd:
    """All visitors: new people, and a bounded memory of those who may return."""

    _REMEMBERED = 4000

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._known: list[Visitor] = []
        self._counters: dict[str, int] = {}

    def visitor(self, micros: int) -> Visitor:
        """Return the visitor of a new conversation; three in ten are returning visitors."""
        rng = self._rng
        if self._known and rng.random() < 0.3:
            back = self._known[int(rng.random() * len(self._known))]
            if back.busy_until < micros:
                self._changes(back)
                return back
        fresh = self._arrival(micros)
        if len(self._known) < self._REMEMBERED:
            self._known.append(fresh)
        else:
            self._known[int(rng.random() * self._REMEMBERED)] = fresh
        return fresh

    def introduce(self, visitor: Visitor) -> None:
        """Add a visitor's e-mail address, and often a name, as in an offline form."""
        rng = self._rng
        if not visitor.name and rng.random() < 0.8:
            visitor.name = self._name(visitor.language)
            visitor.nickname = slug(visitor.name) or visitor.place
        if not visitor.email:
            visitor.email = self._email(visitor.name)

    def _changes(self, visitor: Visitor) -> None:
        rng = self._rng
        if rng.random() < 0.2:
            self.introduce(visitor)
        if rng.random() < 0.25:
            visitor.address = self._address()
        if "visits" in visitor.traits:
            visitor.traits = {**visitor.traits, "visits": int(str(visitor.traits["visits"])) + 1}

    def _arrival(self, micros: int) -> Visitor:
        rng = self._rng
        widget = WIDGETS[pick(rng, _TRAFFIC)]
        language = pick(rng, widget.languages)
        location = pick(rng, _PLACES[language])
        place = slug(location.rsplit(", ", 1)[1])
        counter = self._counters[place] = self._counters.get(place, 0) + 1
        name = self._name(language) if rng.random() < 0.45 else ""
        email = self._email(name) if rng.random() < (0.75 if name else 0.1) else ""
        visitor = Visitor(
            uuid=chatlio_uuid(rng),
            widget=widget,
            language=language,
            name=name,
            email=email,
            user_id=self._user_id(widget, email),
            traits={},
            browser=pick(rng, _BROWSERS),
            place=place,
            location=location,
            counter=counter,
            created_at=self._created_at(micros),
            address=self._address(),
            channel_id=slack_id(rng, "C06" if widget.channel_length == 11 else "C", widget.channel_length),
            nickname=slug(name) or place,
        )
        if visitor.user_id or rng.random() < 0.12:
            visitor.traits = self._traits(visitor)
        return visitor

    def _created_at(self, micros: int) -> str:
        rng = self._rng
        if rng.random() < 0.003:
            return "0001-01-01T00:00:00Z"  # Go's value for a time that was never set
        before = int(log_normal(rng, 6.0, 1.6) * MINUTE)
        return go_micros(micros - before, pick(rng, (-8, -8, -8, 0, 1, 2)))

    def _name(self, language: str) -> str:
        first, last = _NAMES[language]
        return f"{pick(self._rng, first)} {pick(self._rng, last)}"

    def _email(self, name: str) -> str:
        rng = self._rng
        local = slug(name).replace("-", ".") or pick(rng, ("bike.fan", "rider", "hello", "info+chat"))
        return f"{local}{rng.randrange(1, 1000)}@{pick(rng, _MAIL_DOMAINS)}"

    def _user_id(self, widget: Widget, email: str) -> str:
        rng = self._rng
        if rng.random() >= 0.35:
            return ""
        if widget.host == "world.example":
            return "guest"  # a site that gives all visitors the same constant
        number = rng.randrange(1, 100_000)
        return pick(rng, (f"cust-{number}", str(number), f"{number:08}", email or f"user_{number}"))

    def _traits(self, visitor: Visitor) -> dict[str, object]:
        rng = self._rng
        number = rng.randrange(1, 10_000)
        return pick(
            rng,
            (
                {"plan": pick(rng, ("free", "gold", "silver")), "seat count": number % 40},
                {"Name": visitor.name, "Email": visitor.email, "Company": "Grün & Söhne GmbH"},
                {"visits": number % 5 + 1, "zip": f"{number:05}", "phone": f"+49 221 555{number:04}"},
                {"user": {"id": 9_007_199_254_740_993 + number, "tags": ["b2b", "🚲"]}, "version": "1.10"},
                {"newsletter": number % 2 == 0, "lifetime value": number / 4, "coupon": None},
            ),
        )

    def _address(self) -> str:
        rng = self._rng
        if rng.random() < 0.06:
            return f"2001:db8::{rng.randrange(1, 65_536):x}:{rng.randrange(1, 65_536):x}"
        return f"{pick(rng, _NETWORKS)}.{rng.randrange(1, 255)}"
