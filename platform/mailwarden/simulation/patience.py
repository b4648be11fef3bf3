"""Attackers who take their time: senders that are warmed up first, and partners whose name is forged whole."""

from __future__ import annotations

from mailwarden.simulation.addresses import stem
from mailwarden.simulation.attachments import pdf
from mailwarden.simulation.disguise import excerpt, forger, hostile_draft, hostile_link, lookalike, spoofed_route
from mailwarden.simulation.draft import Draft
from mailwarden.simulation.people import Person
from mailwarden.simulation.phrases_abroad import phrasing_in
from mailwarden.simulation.phrases_work import WORK
from mailwarden.simulation.world import DAY_US, Thread, World, quote


def patient_attacker(world: World, at_us: int) -> int:
    """One to five harmless mails from a new sender (RC: who answers?), then what they were for (CP, VF or CB)."""
    rng = world.rng
    label = rng.choice(("CP", "VF", "CB"))
    campaign = world.campaign(label)
    sender = world.stranger(freemail=rng.random() < 0.3)
    reader = rng.choice(world.company.department(rng.choice(("finance", "sales", "operations"))))
    steps = rng.randint(1, 5)
    thread: list[Thread] = []

    def approach(now_us: int) -> Draft:
        values = world.values(sender, reader, now_us)
        body = world.write(("greeting", "lead ask" if not thread else "reply", "closing"), WORK["en"], values)
        subject = f"Re: {thread[0].subject}" if thread else world.say("subject", WORK["en"], values)
        draft = hostile_draft(world, sender, reader, subject, body, "RC", campaign)
        draft.case, draft.forged_results, draft.hidden = "warm_up", "", ""
        if thread:
            quote(draft, thread[0])
        thread[:] = [
            Thread(subject.removeprefix("Re: "), (sender, reader), [draft.message_id], sender, draft.read, now_us)
        ]
        return draft

    def strike(now_us: int) -> Draft:
        draft = _strike(world, sender, reader, label, campaign, now_us)
        draft.case = "warmed_up"
        if thread:
            draft.subject = f"Re: {thread[0].subject}"
            quote(draft, thread[0])
        return draft

    for step in range(steps):
        world.later(world.working_time(at_us + step * 3 * DAY_US, reader), approach)
    world.later(world.working_time(at_us + steps * 3 * DAY_US, reader), strike)
    return steps + 1


def forged_partner(world: World, at_us: int) -> int:
    """A partner's exact address without any proof (CP or VF), where it can be with benign text hidden in front."""
    rng = world.rng
    label = rng.choice(("CP", "VF"))
    campaign = world.campaign(label)
    partner = rng.choice(world.company.vendors if label == "VF" else world.company.partners)
    victim = partner.people[-1] if label == "VF" else rng.choice(partner.people)
    sender = forger(world, victim)
    readers = rng.sample(world.company.department("finance" if label == "VF" else "sales"), 1)

    def send(reader: Person) -> None:
        def write(now_us: int) -> Draft:
            draft = _strike(world, sender, reader, label, campaign, now_us)
            draft.route = spoofed_route(world, partner.domain, policy=partner.posture.dmarc)
            draft.case = "forged_partner"
            if rng.random() < 0.5 and world.threads:
                draft.html, draft.hidden = True, excerpt(world, 50)
            if label == "VF":
                draft.reply_to = f"{victim.address.partition('@')[0]}@{lookalike(world, partner.domain)}"
            return draft

        world.later(world.working_time(at_us, reader), write)

    for reader in readers:
        send(reader)
    return len(readers)


def _strike(world: World, sender: Person, reader: Person, label: str, campaign: str, now_us: int) -> Draft:
    rng = world.rng
    grammar = phrasing_in(world)
    values = {**world.values(sender, reader, now_us), "brand": rng.choice(("Sharebox", "Signwell", "Cloudoffice"))}
    kind = label.lower()
    lines = [world.say(f"{kind}_line", grammar, values) for _ in range(rng.randint(1, 3))]
    body = [world.say("hello", grammar, values), " ".join(lines), world.say("bye", grammar, values)]
    draft = hostile_draft(world, sender, reader, world.say(f"{kind}_subject", grammar, values), body, label, campaign)
    if label == "CP":
        link = hostile_link(world, values["brand"], reader)
        draft.paragraphs.insert(2, f"[[{world.say('cp_button', grammar, values)}|{link}]]")
    elif label == "CB":
        draft.paragraphs.insert(2, world.say("cb_foot", grammar, values))
    elif rng.random() < 0.6:
        lines = [values["invoice"], values["amount"], f"IBAN {values.get('iban', '')}"]
        draft.files.append(pdf(f"{stem(rng, values)}.pdf", lines))
    return draft
