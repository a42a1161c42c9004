"""placeholder until merged"""

from webhooks.said import Said


def comment(said: Said, limit: int = 32_000) -> str:
    return repr(said)[:limit]
