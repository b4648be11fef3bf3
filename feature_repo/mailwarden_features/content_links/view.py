"""content_links: where its links lead."""

from __future__ import annotations

from mailwarden.domain.mail.content import ContentView, count, flag, real
from mailwarden.stores.feast.objects import feature_view_of
from mailwarden_features.content_links.transform import compute

_NO_URL = "not computable: no link"

VIEW = ContentView(
    name="content_links",
    version=1,
    owner="content-analysis",
    description="How many links there are, where they lead and what they look like.",
    features=(
        count("url_count", "Different links with their texts.", "links"),
        count("url_domain_count", "Different registrable domains among the links.", "domains", _NO_URL),
        count("url_text_differs", "Links whose text names another registrable domain.", "links", _NO_URL),
        count("url_ip_host", "Links to an IP address.", "links", _NO_URL),
        count("url_punycode", "Links to a host beyond ASCII.", "links", _NO_URL),
        count("url_shortener", "Links through a shortener.", "links", _NO_URL),
        count("url_free_host", "Links to where anyone may host pages or files.", "links", _NO_URL),
        count("url_open_redirect", "Links that carry another site's address.", "links", _NO_URL),
        flag(
            "url_has_recipient",
            "A recipient's address stands in a link, plain or in base 64.",
            "not computable: no link, or no recipient known",
        ),
        count("url_userinfo", "Links with a name before the host.", "links", _NO_URL),
        count("url_port", "Links to a port other than 80 and 443.", "links", _NO_URL),
        real("url_plain_http_share", "Links without TLS.", "0..1", _NO_URL),
        real(
            "url_sender_domain_share",
            "Links to the sender's registrable domain.",
            "0..1",
            "not computable: no link, or the sender has no registrable domain",
        ),
        count("url_length_max", "Length of the longest link.", "characters", _NO_URL),
        count("url_path_depth_max", "Slashes in the deepest path.", "characters", _NO_URL),
        real("url_path_entropy_max", "Entropy of the least regular path.", "bits a character", _NO_URL),
        count("url_subdomains_max", "Labels before the registrable domain, at most over links.", "labels", _NO_URL),
        count("url_executable", "Links to a file that runs, or holds what runs.", "links", _NO_URL),
        count("url_rewritten", "Links that what protects a mailbox has rewritten.", "links", _NO_URL),
        count("url_redirected", "Links through a site that sends its visitors on.", "links", _NO_URL),
        count(
            "url_redirect_depth_max",
            "Links that one carries inside of each other, at most over links.",
            "links",
            _NO_URL,
        ),
        count("url_target_unread", "Rewritten links whose target does not stand in them.", "links", _NO_URL),
        count("url_ip_form", "Links to an IPv4 address that is not written as four decimal numbers.", "links", _NO_URL),
        count(
            "url_encoded_host",
            "Links whose host is written with percent-encoding, or with letters or dots that are read as ASCII.",
            "links",
            _NO_URL,
        ),
        count("url_mixed_script", "Links to a host that mixes scripts within a label.", "links", _NO_URL),
        count("url_bare", "Links without a scheme, which mail clients make.", "links", _NO_URL),
        count("url_base", "Links that a base element moves.", "links", _NO_URL),
        count(
            "url_odd_syntax",
            "Links with backslashes, slashes too few or many, or line ends and control characters inside.",
            "links",
            _NO_URL,
        ),
        count("url_form", "Forms that are sent somewhere.", "links", _NO_URL),
        count(
            "url_automatic", "Links that are followed without a click, or shown within the message.", "links", _NO_URL
        ),
        count("url_in_subject", "Links in the subject.", "links", _NO_URL),
        count("url_file", "Links to files of a share, or of the reader's own machine.", "links"),
        count("url_script", "Links that hold a page or a script themselves (data:, javascript:).", "links"),
        count("url_application", "Links that open an application (search-ms:, ms-word: and the like).", "links"),
        count("url_phone", "Links that call or text a number.", "links"),
        count("url_mail", "Links that write mail.", "links"),
        count("url_mail_elsewhere", "Those among them to another registrable domain than the sender's.", "links"),
    ),
    compute=compute,
    reads=("headers", "links"),
    cost_us=75,
    lists=("shorteners", "free_hosts"),
)

feature_view = feature_view_of(VIEW)
