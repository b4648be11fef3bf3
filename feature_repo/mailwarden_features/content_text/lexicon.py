"""What the newest text asks for: distinct terms of small word lists, in a few languages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

INTENTS: dict[str, str] = {
    "urgency": """
        urgent; urgently; immediately; asap; a.s.a.p; deadline; hurry; right away; as soon as possible; within
        24 hours; within 48 hours; expires today; expire soon; final notice; last warning; last chance; act now;
        time sensitive; time is running out; before it is too late; action required; immediate attention;
        dringend; sofort; umgehend; letzte mahnung; innerhalb von 24 stunden; urgente; inmediatamente; cuanto
        antes; immédiatement; dès que possible; dernier rappel; subito; immediatamente; urgência; dringende;
        onmiddellijk
    """,
    "credential": """
        password; passwords; passcode; username; login; log in; log on; sign in; signin; verify your; confirm
        your; update your account; validate your; account suspended; account has been; suspended; reactivate;
        unlock; unusual activity; unauthorized; security alert; mailbox is full; mailbox quota; storage limit;
        two factor; click here to; click the link; click below; social security number; identity; credentials;
        secure message; passwort; kennwort; anmelden; konto gesperrt; bestätigen sie; contraseña; iniciar
        sesión; verifique; mot de passe; connectez vous; identifiant; accedi; verifica; senha; wachtwoord;
        inloggen
    """,
    "payment": """
        invoice; invoices; payment; payments; wire transfer; bank transfer; bank account; account number;
        routing number; sort code; swift; iban; bic; remittance; overdue; past due; outstanding balance; amount
        due; purchase order; beneficiary; new bank details; updated bank details; bank details; change of bank;
        ach; payable; refund; rechnung; überweisung; bankverbindung; kontonummer; zahlung; factura;
        transferencia; pago; cuenta bancaria; facture; virement; paiement; coordonnées bancaires; fattura;
        bonifico; pagamento; fatura; factuur; betaling
    """,
    "payroll": """
        payroll; direct deposit; salary; wages; paycheck; pay check; pay stub; paystub; w 2; w2; pay slip;
        payslip; next pay period; pay date; gehalt; gehaltsabrechnung; lohn; nómina; salario; salaire; bulletin
        de paie; stipendio; busta paga; salário; loonstrook; salaris
    """,
    "gift_card": """
        gift card; gift cards; giftcard; giftcards; itunes card; itunes cards; google play card; google play
        cards; amazon card; amazon cards; steam card; steam cards; apple card; scratch the back; scratch off;
        voucher; vouchers; geschenkkarte; geschenkkarten; gutschein; gutscheinkarten; tarjeta de regalo;
        tarjetas de regalo; carte cadeau; cartes cadeaux; carta regalo; carte regalo; cadeaubon; cadeaukaart
    """,
    "callback": """
        call us; call me; call now; call our; please call; toll free; tollfree; helpline; help desk; helpdesk;
        customer support; customer care; support number; phone number; telephone number; cell number; cell phone
        number; mobile number; whatsapp; telegram; text me; speak to; cancel the order; cancel this order;
        cancel the charge; auto renewal; renewal; subscription; rufen sie; telefonnummer; handynummer; llámenos;
        número de teléfono; appelez; numéro de téléphone; chiamaci; ligue para; bel ons
    """,
    "threat": """
        i recorded; recorded you; webcam; your camera; i hacked; hacked your; been hacked; malware; trojan; rat
        software; adult site; adult sites; adult websites; porn; masturbating; masturbate; your contacts;
        bitcoin; btc; bitcoin wallet; send the money; leak; expose you; ruin your; legal action; lawsuit;
        arrest; warrant; police; court; prosecuted; bomb; kill; erpressung; gehackt; haftbefehl; hackeado;
        chantaje; piraté; arrestation; hackerato; denuncia
    """,
    "job": """
        job offer; work from home; working from home; part time job; part time; hiring; recruitment; recruiter;
        vacancy; vacancies; no experience; per week; weekly pay; mystery shopper; personal assistant;
        employment; earn up to; extra income; your resume; your cv; home based; stellenangebot; nebenjob;
        heimarbeit; oferta de empleo; trabajo desde casa; offre d emploi; offerta di lavoro; vaga de emprego;
        thuiswerk; vacature
    """,
    "secrecy": """
        confidential; confidentiality; confidentially; discreet; discreetly; discretion; secret; secrecy; keep
        this; between us; do not tell; don t tell; do not discuss; do not share; strictly private; surprise; do
        not reply to; in a meeting; i am in a meeting; at your desk; are you available; quick task; quick favor;
        quick favour; vertraulich; diskret; geheim; confidencial; discreción; confidentiel; discrétion;
        riservato; vertrouwelijk
    """,
    "scam": """
        inheritance; next of kin; beneficiary; deceased; million dollars; million usd; million euros; united
        states dollars; lottery; winner; you have won; prize; winning number; claim your; fund transfer; late
        husband; barrister; attorney; diplomat; consignment; foreign partner; business proposal; god bless; dear
        friend; dearest one; beloved; western union; moneygram; donation; compensation; erbschaft; lotterie;
        gewonnen; herencia; lotería; héritage; loterie; eredità; herança; erfenis
    """,
    "offer": """
        viagra; cialis; pharmacy; pills; medication; medications; prescription; enlargement; replica; replicas;
        watches; rolex; casino; poker; jackpot; discount; discounts; cheap; lowest price; lowest prices; special
        offer; limited time; free shipping; money back; guarantee; guaranteed; unsubscribe; opt out; mortgage;
        refinance; loan; loans; low rate; stock; stocks; shares; target price; strong buy; investors; software;
        oem; degree; diploma; dating; singles; weight loss; lose weight; crypto; investment; investments;
        rabatt; angebot; oferta; descuento; promotion; sconto; offerta; desconto; korting; aanbieding
    """,
}
"""Terms by intent, separated by semicolons; matched as whole words, whatever the case and punctuation between."""

MAX_WORDS = 1_500

_WORD = re.compile(r"[^\W_]+")
_CHARSET = "cp1252"


def _lower_or_blank(code: int) -> int:
    character = bytes([code]).decode(_CHARSET, "replace").lower()
    return character.encode(_CHARSET)[0] if character.isalnum() else 0x20


_LOWER_OR_BLANK = bytes(map(_lower_or_blank, range(256)))


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation, at most `MAX_WORDS`.

    >>> words_of("Wire-transfer: ASAP!")
    ['wire', 'transfer', 'asap']
    """
    # Byte by byte, where letters are a byte each: the same, and three to five times as quick.
    if text.isascii():
        return text.encode().translate(_LOWER_OR_BLANK).decode().split()[:MAX_WORDS]
    try:
        return text.encode(_CHARSET).translate(_LOWER_OR_BLANK).decode(_CHARSET).split()[:MAX_WORDS]
    except UnicodeEncodeError:
        return _WORD.findall(text.lower())[:MAX_WORDS]


_Phrase = tuple[str, frozenset[str], str]
"""A phrase between blanks, its words, its intent."""


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[frozenset[str], dict[str, tuple[str, ...]], dict[str, tuple[_Phrase, ...]]]:
    """All words to look for, the intents of each single one, and the phrases by their longest word."""
    singles: dict[str, list[str]] = {}
    phrases: dict[str, list[_Phrase]] = {}
    for intent, terms in INTENTS.items():
        for term in dict.fromkeys(_split(terms)):
            words = term.split()
            if len(words) == 1:
                singles.setdefault(term, []).append(intent)
            else:
                phrases.setdefault(max(words, key=len), []).append((f" {term} ", frozenset(words), intent))
    return (
        frozenset((*singles, *phrases)),
        {word: tuple(intents) for word, intents in singles.items()},
        {word: tuple(pairs) for word, pairs in phrases.items()},
    )


def _split(terms: str) -> Iterable[str]:
    return (" ".join(words_of(term)) for term in terms.split(";") if term.strip())


def count_intents(words: list[str], present: set[str]) -> dict[str, int]:
    """How many different terms of each intent stand in the words; repeating a term does not count again.

    present: the words, each once.
    """
    looked_for, singles, phrases = _vocabulary()
    counts = dict.fromkeys(INTENTS, 0)
    joined = ""
    for word in looked_for & present:
        for intent in singles.get(word, ()):
            counts[intent] += 1
        for phrase, needed, intent in phrases.get(word, ()):
            if needed <= present:
                joined = joined or f" {' '.join(words)} "
                counts[intent] += phrase in joined
    return counts
