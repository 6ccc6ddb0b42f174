"""PURE. Identifiers as advertising tools compare them: normalised, then hashed. They never see a person's in clear."""

import re
from collections.abc import Callable
from hashlib import sha256

# Google's own domains: a.b@gmail.com and ab@gmail.com are one mailbox.
IGNORES_DOTS = {"gmail.com", "googlemail.com"}
DIGEST = re.compile(r"[0-9a-f]{64}")


def hashed(text: str, normalised: Callable[[str], str]) -> str:
    """SHA-256 of the normalised text, as 64 hexadecimal digits in lower case; a digest stays as it is."""
    # What is sent can be told to be a digest before it comes here; one of a digest would find nobody.
    return text if DIGEST.fullmatch(text) else sha256(normalised(text).encode()).hexdigest()


def hashed_email(email: str) -> str:
    """Without blanks around it and in lower case, as Meta, TikTok, LinkedIn and Snapchat compare addresses."""
    return hashed(email, lower)


def google_hashed_email(email: str) -> str:
    """As Google compares them: besides, without the dots before the domain in addresses of its own.

    developers.google.com/data-manager/api/devguides/concepts/formatting, November 2026.
    """

    def normalised(email: str) -> str:
        name, _, domain = lower(email).rpartition("@")
        name = name.replace(".", "") if domain in IGNORES_DOTS else name
        return f"{name}@{domain}"

    return hashed(email, normalised)


def hashed_digits(phone: str) -> str:
    """Of the digits of E.164 alone, as Meta and Snapchat compare telephone numbers."""
    return hashed(phone, e164_digits)


def hashed_e164(phone: str) -> str:
    """Of a plus sign and the digits, as Google and TikTok compare them."""
    return hashed(phone, lambda phone: f"+{e164_digits(phone)}")


def hashed_mobile_id(id: str) -> str:
    """In lower case and with its hyphens, as TikTok and Snapchat compare advertising ids of telephones."""
    return hashed(id, lower)


def lower(text: str) -> str:
    return text.strip().lower()


def e164_digits(phone: str) -> str:
    """Country code and number. 00 before them is how they are dialled; without a country code nobody is found."""
    return re.sub(r"[^0-9]", "", phone).lstrip("0")
