"""Attackers' phrases in German, French and Spanish."""

from __future__ import annotations

from mailwarden.simulation.disguise import phrasing
from mailwarden.simulation.grammar import Grammar
from mailwarden.simulation.phrases_attack import ATTACK
from mailwarden.simulation.world import World

_ABROAD_SHARE = 0.25

GERMAN: Grammar = {
    **ATTACK,
    "hello": ("Guten Tag,", "Sehr geehrte Damen und Herren,", "Hallo {first},"),
    "bye": ("Mit freundlichen Grüßen\n{me}", "Beste Grüße\n{me_first}", "Ihr Support-Team"),
    "soon": ("heute", "innerhalb von 24 Stunden", "bis {clock} Uhr"),
    "cp_subject": ("Ihr Passwort läuft ab", "Ungewöhnliche Anmeldung", "{number} Nachrichten zurückgehalten"),
    "cp_line": ("Ihr Passwort läuft {soon} ab, bitte melden Sie sich an.",
        "Wir haben eine ungewöhnliche Anmeldung an Ihrem Konto bemerkt.",
        "{number} Nachrichten konnten nicht zugestellt werden.", "Ohne Bestätigung wird Ihr Konto gesperrt."),
    "cp_button": ("Jetzt anmelden", "Konto bestätigen", "Nachrichten freigeben"),
    "vf_subject": ("Neue Bankverbindung", "Rechnung {invoice}", "Zahlung der Rechnung {invoice}"),
    "vf_line": ("Bitte beachten Sie unsere neue Bankverbindung: {iban}",
        "Die Rechnung {invoice} über {amount} ist noch offen, bitte zahlen Sie {soon}.",
        "Unser Konto wird geprüft, bitte überweisen Sie auf {iban}."),
    "cb_subject": ("Ihr Abonnement wurde verlängert", "Bestellung {invoice}"),
    "cb_line": ("Ihr Schutzpaket wurde für {amount} verlängert.", "Zum Widerruf rufen Sie {phone} an."),
    "cb_foot": ("Rückfragen unter {phone}",),
}  # fmt: skip
FRENCH: Grammar = {
    **ATTACK,
    "hello": ("Bonjour,", "Madame, Monsieur,", "Bonjour {first},"),
    "bye": ("Cordialement\n{me}", "Bien à vous\n{me_first}", "Le service client"),
    "soon": ("aujourd'hui", "sous 24 heures", "avant {clock}"),
    "cp_subject": ("Votre mot de passe expire", "Connexion inhabituelle", "{number} messages en attente"),
    "cp_line": ("Votre mot de passe expire {soon}, veuillez vous connecter.",
        "Une connexion inhabituelle à votre compte a été détectée.", "{number} messages n'ont pas pu être remis.",
        "Sans confirmation votre compte sera suspendu."),
    "cp_button": ("Se connecter", "Vérifier le compte", "Voir les messages"),
    "vf_subject": ("Changement de coordonnées bancaires", "Facture {invoice}"),
    "vf_line": ("Veuillez noter notre nouveau compte : {iban}", "La facture {invoice} de {amount} reste impayée.",
        "Notre compte est en audit, merci de régler sur {iban} {soon}."),
    "cb_subject": ("Votre abonnement a été renouvelé", "Commande {invoice}"),
    "cb_line": ("Votre protection a été renouvelée pour {amount}.", "Pour annuler, appelez le {phone}."),
    "cb_foot": ("Questions : {phone}",),
}  # fmt: skip
SPANISH: Grammar = {
    **ATTACK,
    "hello": ("Hola:", "Estimado cliente:", "Buenos días {first}:"),
    "bye": ("Un saludo\n{me}", "Saludos cordiales\n{me_first}", "El equipo de soporte"),
    "soon": ("hoy", "en 24 horas", "antes de las {clock}"),
    "cp_subject": ("Su contraseña caduca", "Inicio de sesión inusual", "{number} mensajes retenidos"),
    "cp_line": ("Su contraseña caduca {soon}, inicie sesión.", "Hemos detectado un inicio de sesión inusual.",
        "{number} mensajes no se pudieron entregar.", "Si no confirma, su cuenta será suspendida."),
    "cp_button": ("Iniciar sesión", "Verificar cuenta", "Ver mensajes"),
    "vf_subject": ("Cambio de datos bancarios", "Factura {invoice}"),
    "vf_line": ("Nuestros datos bancarios han cambiado, pague a {iban}",
        "La factura {invoice} de {amount} sigue pendiente.", "Confirme el pago {soon}, por favor."),
    "cb_subject": ("Su suscripción se ha renovado", "Pedido {invoice}"),
    "cb_line": ("Su plan de protección se renovó por {amount}.", "Para cancelar llame al {phone}."),
    "cb_foot": ("Dudas: {phone}",),
}  # fmt: skip


def phrasing_in(world: World) -> Grammar:
    """A campaign's grammar; of a quarter of campaigns in another language than English."""
    if world.rng.random() < _ABROAD_SHARE:
        return world.rng.choice((GERMAN, FRENCH, SPANISH))
    return phrasing(world)
