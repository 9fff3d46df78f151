"""Sentences from a bicycle shop's chat, in five languages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Talk:
    """One subject: the page it starts on, openings, and alternating replies, starting with the agent."""

    page: str
    openings: tuple[str, ...]
    replies: tuple[str, ...]


@dataclass(frozen=True)
class Language:
    """The sentences of one language; `{product}`, `{order}` and `{host}` are filled in."""

    code: str
    products: tuple[str, ...]
    talks: tuple[Talk, ...]
    thanks: tuple[str, ...]
    farewells: tuple[str, ...]
    nudges: tuple[str, ...]
    praise: tuple[str, ...]
    offline: tuple[tuple[str, str], ...]
    follow_up: str
    right_to_left: bool = False


ENGLISH = Language(
    "en",
    ("Ridge 29 trail bike", "Harbor e-bike", "Pinewood pannier set", "Lumen 900 headlight",
     "kids' Sprout 16"),
    (
        Talk("/products/ridge-29",
             ("Is the {product} in stock in size M?", "do you still have the {product}??",
              "Hello, when will the {product} be back?"),
             ("Hi! We have two left in the warehouse.", "Great. How long does delivery take?",
              "Three to five working days. Express is next day.", "Can I pick it up in the store instead?",
              "Sure, choose “Pick up” at checkout & we keep it for 7 days.")),
        Talk("/orders/track", ("Where is my order {order}?", "Order {order} should have arrived on Monday 😕",
             "hi, tracking for {order} does not work"),
             ("Let me look that up, one moment please.", "ok",
              "It left our depot yesterday. You can follow it here: <https://{host}/track/{order}>",
              "It says “delivered”, but I got nothing.", "I am sorry! I have opened a case with the carrier.",
              "How long will that take?", "Two working days at most. We will mail you either way.")),
        Talk("/returns", ("How do I return the {product}?", "I'd like to send back order {order}",
             "The {product} is too small, can I swap it?"),
             ("Of course. Is it unused and in its box?", "Yes, I only opened the box.",
              "Then print the label from <https://{host}/returns|our returns page>. It is free for 30 days.",
              "And when do I get my money back?", "Within 5 days after it reaches us.")),
        Talk("/pricing", ("Is there a discount for teams?", "Is the beta of the service plan open?",
             "What does the service plan cost per year?"),
             ("Yes: 10 % from five bikes on, 15 % from twelve.", "We need eight. Could you send a quote?",
              "Gladly, what is the best address?", "The one from my account please",
              "Done, it is on its way :+1:")),
        Talk("/support/battery", ("My {product} no longer charges", "The charger light blinks red. What now?",
             "Battery drops from 80% to 20% in ten minutes"),
             ("Hello, which serial number is on the frame?", "HB-2207-00413",
              "Thank you. Please hold the power key for 15 seconds and plug it in again.",
              "Nothing happens 😢",
              "Then it is covered by the guarantee. I have reserved a workshop slot.", "Perfect, which day?",
              "Thursday 09:30. Is that fine?", "yes!")),
        Talk("/account/login", ("I can't log in any more", "password reset mail never arrives"),
             ("Which address did you register with?", "the one I use here",
              "I see it: the mail bounced. I have sent a new link.", "That worked 🎉")),
    ),
    ("Thanks a lot! 🙏", "Brilliant, thank you", "thx 👍", "Thank you so much for the quick help ❤️"),
    ("You are welcome. Have a good ride! 🚲", "Any time. Bye!", "Glad to help 😊"),
    ("Hello?", "Anybody there?", "ok, I'll try again later…"),
    ("Great help, thanks!", "Fast and friendly 😀", "It took a bit long", "👎 nobody answered my question",
     "5",
     "Sam was wonderful ⭐⭐⭐⭐⭐", "Could be better"),
    (("Invoice", "Please send me the invoice for order {order} again."),
     ("Call me back", "Please call me about the {product}, best after 6 pm."),
     ("Question about {product}", "Does the {product} fit a rider of 5'4\"?\nAnd does it come assembled?"),
     ("Opening hours", "Are you open on Easter Monday?")),
    "PS: the missing part arrived today, all good now.",
)  # fmt: skip

GERMAN = Language(
    "de",
    ("Trekkingrad Föhn 28", "E-Bike Häfen", "Packtaschen-Set Kiefer", "Frontlicht Lumen 900"),
    (
        Talk("/produkte/foehn-28", ("Ist das {product} in Größe M lieferbar?",
                                    "Hallo, haben Sie das {product} noch da?"),
             ("Guten Tag! Ja, zwei Stück sind noch im Lager.", "Super. Wie lange dauert der Versand?",
              "Drei bis fünf Werktage, per Express einen Tag.", "Kann ich es auch im Laden abholen?",
              "Natürlich, wählen Sie an der Kasse einfach „Abholung“.")),
        Talk("/bestellung", ("Wo bleibt meine Bestellung {order}?",
                             "Meine Bestellung {order} ist überfällig 😕"),
             ("Einen Moment, ich schaue für Sie nach.", "Danke",
              "Das Paket ist seit gestern unterwegs: <https://{host}/sendung/{order}>",
              "Dort steht „zugestellt“, ich habe aber nichts bekommen.",
              "Das tut mir leid. Ich stelle sofort einen Nachforschungsauftrag.")),
        Talk("/ruecksendung", ("Wie kann ich das {product} zurückschicken?",
                               "Das {product} ist zu groß. Umtausch möglich?"),
             ("Gern. Ist die Ware unbenutzt?", "Ja, nur ausgepackt.",
              "Dann senden Sie sie bitte mit dem beigelegten Etikett zurück – kostenfrei.",
              "Wann erhalte ich das Geld?", "Spätestens fünf Tage nach Eingang.")),
        Talk("/hilfe/akku", ("Mein Akku lädt nicht mehr", "Das Ladegerät blinkt rot, was heißt das?"),
             ("Welche Seriennummer steht auf dem Rahmen?", "HB-2207-00413",
              "Bitte halten Sie die Taste 15 Sekunden gedrückt.", "Jetzt geht es wieder 🎉")),
    ),
    ("Vielen Dank! 🙏", "Danke, das hat geholfen", "Super, schönen Tag noch 😊"),
    ("Sehr gern, gute Fahrt! 🚲", "Gern geschehen. Tschüss!"),
    ("Hallo?", "Ist jemand da?", "Dann versuche ich es später noch einmal."),
    ("Sehr freundlich und schnell 👍", "Hat etwas lange gedauert", "Frage wurde nicht gelöst", "Spitze!"),
    (("Rechnung", "Bitte schicken Sie mir die Rechnung zu Bestellung {order} noch einmal."),
     ("Rückruf", "Bitte rufen Sie mich wegen des {product} zurück, am besten nach 18 Uhr."),
     ("Öffnungszeiten", "Haben Sie am Samstag geöffnet? Viele Grüße")),
    "Nachtrag: Das fehlende Teil ist heute angekommen.",
)  # fmt: skip

DUTCH = Language(
    "nl",
    ("stadsfiets Gracht 7", "e-bike Haven", "fietstassenset Den", "koplamp Lumen 900"),
    (
        Talk("/producten/gracht-7", ("Is de {product} op voorraad in maat M?",
                                     "Hoi, hebben jullie de {product} nog?"),
             ("Goedemiddag! Ja, er staan er nog twee in het magazijn.", "Fijn. Hoe lang duurt de levering?",
              "Drie tot vijf werkdagen.", "Kan ik hem ook in de winkel ophalen?",
              "Zeker, kies bij het afrekenen “Afhalen”.")),
        Talk("/bestelling", ("Waar blijft mijn bestelling {order}?",
                             "Bestelling {order} is nog steeds niet geleverd 😕"),
             ("Een ogenblikje, ik zoek het op.", "Prima",
              "Het pakket is gisteren vertrokken: <https://{host}/volgen/{order}>",
              "Daar staat ‘bezorgd’, maar ik heb niets.",
              "Wat vervelend! Ik neem contact op met de vervoerder.")),
        Talk("/retour", ("Hoe stuur ik de {product} terug?", "De {product} is te klein, kan ik ruilen?"),
             ("Natuurlijk. Is hij ongebruikt?", "Ja, alleen uitgepakt.",
              "Dan krijgt u een gratis retourlabel van ons.")),
    ),
    ("Hartelijk dank! 🙏", "Top, bedankt", "Dank je wel, fijne dag 😊"),
    ("Graag gedaan, goede reis! 🚲", "Geen dank. Tot ziens!"),
    ("Hallo?", "Is daar iemand?"),
    ("Snel en vriendelijk geholpen 👍", "Duurde wat lang", "Geweldig, één minuut en klaar!"),
    (("Factuur", "Kunnen jullie de factuur van bestelling {order} opnieuw sturen?"),
     ("Terugbellen", "Graag teruggebeld worden over de {product}, liefst na zessen.")),
    "Nog even: het ontbrekende onderdeel is vandaag aangekomen.",
)  # fmt: skip

ARABIC = Language(
    "ar",
    ("دراجة Ridge 29", "حقيبة الدراجة", "مصباح Lumen 900"),
    (
        Talk("/ar/products/ridge-29", ("مرحبا، هل {product} متوفرة بالمقاس M؟",
                                       "هل ما زالت {product} متوفرة؟"),
             ("أهلاً بك! نعم، بقيت قطعتان في المخزن.", "ممتاز. كم يستغرق التوصيل؟",
              "من ثلاثة إلى خمسة أيام عمل.")),
        Talk("/ar/orders", ("أين طلبي رقم {order}؟", "الطلب {order} لم يصل بعد 😕"),
             ("لحظة من فضلك، سأتحقق من الأمر.", "حسناً", "غادر الطلب أمس: <https://{host}/track/{order}>")),
    ),
    ("شكراً جزيلاً 🙏", "شكراً لكم"),
    ("على الرحب والسعة! 🚲",),
    ("مرحبا؟", "هل من أحد؟"),
    ("خدمة ممتازة وسريعة 👍", "استغرق الأمر وقتاً طويلاً"),
    (("فاتورة", "أرجو إرسال فاتورة الطلب {order} مرة أخرى."),),
    "وصلت القطعة الناقصة اليوم.",
    right_to_left=True,
)  # fmt: skip

HEBREW = Language(
    "he",
    ("אופני Ridge 29", "תיק לאופניים", "פנס Lumen 900"),
    (
        Talk("/he/products/ridge-29", ("שלום, האם {product} במלאי במידה M?", "יש עדיין {product}?"),
             ("שלום! כן, נשארו שניים במחסן.", "מעולה. כמה זמן לוקח המשלוח?", "שלושה עד חמישה ימי עסקים.")),
        Talk("/he/orders", ("איפה ההזמנה שלי {order}?", "הזמנה {order} עדיין לא הגיעה 😕"),
             ("רגע אחד, אני בודק.", "תודה", "החבילה יצאה אתמול: <https://{host}/track/{order}>")),
    ),
    ("תודה רבה! 🙏", "תודה, יום טוב"),
    ("בשמחה! 🚲",),
    ("שלום?", "יש שם מישהו?"),
    ("שירות מהיר ואדיב 👍", "לקח קצת הרבה זמן"),
    (("חשבונית", "אנא שלחו לי שוב את החשבונית להזמנה {order}."),),
    "החלק החסר הגיע היום.",
    right_to_left=True,
)  # fmt: skip

LANGUAGES = {language.code: language for language in (ENGLISH, GERMAN, DUTCH, ARABIC, HEBREW)}

# Typical first messages in any chat window on the internet.
HOSTILE = (
    "<script>alert('hi')</script>",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE orders; --",
    '"quoted", \\back\\slashed & <b>bold</b>',
    "=HYPERLINK(\"https://evil.example\",\"free bikes\")",
    "{{7*7}} ${7*7} %s %n",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \u202eevil\u202c",
)  # fmt: skip

EXTRA_WORDS = ("refund", "vip", "urgent", "escalate", "warranty", "follow-up", "rückruf", "b2b")
