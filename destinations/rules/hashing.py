"""PURE. Addresses as advertising tools compare them: normalised, then hashed. They never see one in clear."""

from hashlib import sha256

IGNORES_DOTS = {"gmail.com", "googlemail.com"}


def hashed(text: str) -> str:
    """SHA-256 of the text, as 64 hexadecimal digits in lower case."""
    return sha256(text.encode()).hexdigest()


def hashed_email(email: str) -> str:
    """Without blanks around it and in lower case, as Meta, TikTok, LinkedIn and Snapchat compare addresses."""
    return hashed(email.strip().lower())


def google_hashed_email(email: str) -> str:
    """As Google compares them: besides, without the dots before the domain in addresses of its own.

    developers.google.com/data-manager/api/devguides/concepts/formatting, November 2026.
    """
    name, _, domain = email.strip().lower().rpartition("@")
    name = name.replace(".", "") if domain in IGNORES_DOTS else name
    return hashed(f"{name}@{domain}")
