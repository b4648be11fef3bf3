"""Phrases of good mail that reads like an attack."""

from __future__ import annotations

from mailwarden.simulation.grammar import Grammar
from mailwarden.simulation.phrases_work import ENGLISH

HARD: Grammar = {
    **ENGLISH,
    "bank_notice": ("We have moved our business account, from the 1st please pay to IBAN {iban}.",
        "Our bank is closing its branch here: our new account is {iban}.",
        "Please update our bank details in your system: {iban}."),
    "bank_proof": ("A confirmation by the bank is attached; call your usual contact with us if you want to check.",
        "As agreed on the phone with your colleague, the bank's letter is attached.",
        "Please ring us on the number that you have on file before you change anything."),
    "bank_subject": ("New bank account of {partner}", "Change of our bank details", "Bank details from {month}"),
    "bank_checked": ("Thanks, I called your office and they confirmed it. Master data is updated.",
        "Checked by phone with your accounts team, changed in our system."),
    "bank_invoice": ("Attached is invoice {invoice} over {amount}, the first one with our new account.",
        "Invoice {invoice} for {amount} is attached. Note the new account that we talked about."),
    "private_note": ("I write from my private address since the VPN does not work here.",
        "Using my own mail, my phone lost the company account.", "Sent from home, I left the laptop in the office."),
    "private_ask": ("Can you send me {thing} before {day}?", "Could you move my meeting at {clock}?",
        "Please pay the deposit of {amount} for the stand today, I sign the form tomorrow.",
        "Are you at your desk? Call me on my mobile when you can."),
    "private_subject": ("from my private mail", "quick one", "{thing}", "tomorrow", "Re: {thing}"),
    "urgent_subject": ("Urgent: payment today", "Please pay today", "Payment {invoice} - today please"),
    "test_subject": ("Your password expires today", "Action required: verify your mailbox",
        "You have {number} messages on hold", "Payroll: confirm your account"),
    "test_line": ("Your mailbox password expires today. Sign in to keep it.",
        "We noticed an unusual sign-in to your account. Verify it now or it will be suspended.",
        "{number} messages could not be delivered to you. Sign in to release them."),
    "hello_all": ("Hello {first},", "Dear {first},"),
    "benefit_subject": ("Action required: confirm your benefits by {day}", "Last reminder: your enrolment ends {day}",
        "Verify your personal details for {month}"),
    "benefit_line": ("Your enrolment ends on {day}. Sign in and confirm your details.",
        "If you do not confirm, your cover ends.", "Please check your bank account and address in the portal.",
        "You need your staff number and password to sign in."),
    "bounce_line": ("This is the mail system. Your message could not be delivered to one or more recipients.",
        "I'm sorry to have to inform you that your message could not be delivered."),
    "first_invoice": (
        "As ordered by your colleague, invoice {invoice} over {amount} is attached. Our account is {iban}.",
        "Thank you for your first order. Please find invoice {invoice} ({amount}) attached, payable to {iban}."),
}  # fmt: skip
