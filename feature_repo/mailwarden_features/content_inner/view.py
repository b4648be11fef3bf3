"""content_inner: what messages and files inside of it hold."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_inner.transform import compute

_NO_NESTED = "not computable: no nested message"
_NOTHING = "not computable: no nested message, and no file to look into"
_NO_LINK = "not computable: no link inside"
_NONE_ENCRYPTED = "not computable: nothing in it is encrypted"

VIEW = ContentView(
    name="content_inner",
    version=1,
    owner="content-analysis",
    description="What messages inside of the message and its files hold, at whatever depth, apart from its own text.",
    features=(
        count("nested_count", "Messages inside the message, those in its files too.", "messages"),
        count("nested_url_count", "Links of nested messages.", "links", _NO_NESTED),
        count("nested_attachment_count", "Attachments of nested messages.", "files", _NO_NESTED),
        count("nested_text_len", "Length of the text of nested messages.", "characters", _NO_NESTED),
        count("inner_opened_count", "Attachments of a kind that is looked into.", "files"),
        count("inner_file_count", "Files inside of attachments and of nested messages.", "files", _NOTHING),
        count("inner_depth_max", "Files inside of each other, at most.", "files", _NOTHING),
        count("inner_executable", "Files inside that run, by content or by name.", "files", _NOTHING),
        count("inner_script", "Files inside that are scripts or shortcuts.", "files", _NOTHING),
        count("inner_archive", "Archives inside of archives.", "files", _NOTHING),
        count("inner_disguised_name", "Files inside whose name shows another kind than it is.", "files", _NOTHING),
        count("inner_macro", "Documents with macros.", "files", _NOTHING),
        count("inner_auto_macro", "Documents with macros that start by themselves.", "files", _NOTHING),
        count("inner_macro_call", "Documents with macros that start programs or fetch files.", "files", _NOTHING),
        count("inner_remote_template", "Documents whose template or object lies elsewhere.", "files", _NOTHING),
        count("inner_external_link", "Documents that take another part from elsewhere.", "files", _NOTHING),
        count("inner_dde", "Documents with a field that starts a program.", "files", _NOTHING),
        count("inner_embedded_file", "Documents with files packed into them.", "files", _NOTHING),
        count("inner_javascript", "Pages and PDF files with scripts.", "files", _NOTHING),
        count("inner_auto_action", "Files that do something when they are opened.", "files", _NOTHING),
        count("inner_form", "Pages and PDF files with a form to send.", "files", _NOTHING),
        count("inner_password_field", "Pages that ask for a password.", "files", _NOTHING),
        count("inner_smuggling", "Pages that put a file together for saving.", "files", _NOTHING),
        count("inner_obscured_script", "Pages that write themselves out of encoded text.", "files", _NOTHING),
        count("inner_redirect", "Pages that lead away by themselves.", "files", _NOTHING),
        count("inner_image_only", "PDF files whose pages are nothing but pictures.", "files", _NOTHING),
        count("inner_encrypted", "Files that nobody reads without a password.", "files", _NOTHING),
        count("inner_unread", "Files that are damaged, too long, or of a kind that is not opened.", "files", _NOTHING),
        flag("inner_password_given", "Its text gives a password, and a file wants one.", _NONE_ENCRYPTED),
        count("inner_text_len", "Length of the text inside.", "characters", _NOTHING),
        count("inner_credential_terms", "Different terms inside about accounts and passwords.", "terms", _NOTHING),
        count("inner_payment_terms", "Different terms inside about payments.", "terms", _NOTHING),
        count("inner_urgency_terms", "Different terms inside that press for time.", "terms", _NOTHING),
        count("inner_money_count", "Currency signs and words inside.", "terms", _NOTHING),
        count("inner_url_count", "Links inside.", "links", _NOTHING),
        count("inner_url_domain_count", "Different registrable domains among links inside.", "domains", _NO_LINK),
        count("inner_url_elsewhere", "Domains of links inside other than the sender's.", "domains", _NO_LINK),
        count("inner_url_unseen", "Domains of links inside that no link of the text leads to.", "domains", _NO_LINK),
        count("inner_url_text_differs", "Links inside whose text names another domain.", "links", _NO_LINK),
        count("inner_url_ip_host", "Links inside to an IP address.", "links", _NO_LINK),
        count("inner_url_shortener", "Links inside through a shortener.", "links", _NO_LINK),
        count("inner_url_free_host", "Links inside to where anyone may host.", "links", _NO_LINK),
    ),
    compute=compute,
    reads=("inner",),
    cost_us=3,
    lists=("shorteners", "free_hosts"),
)

feature_view = feature_view_of(VIEW)
