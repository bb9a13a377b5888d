"""Tokens of pictures, by the providers' published rules for pixels; bytes never matter.

Anthropic: width × height / 750 after shrinking to 1,568 pixels and about 1.15 megapixels.
OpenAI: either tiles of 512 pixels after fitting into 2,048 and shrinking the short side to 768, or,
for small models, patches of 32 pixels (1,536 at most) times a factor. Source: their vision guides.
"""

import re
from math import ceil, sqrt

from palaver.domain.messages import Image

_UNKNOWN_SIZE = (1024, 1024)
_ANTHROPIC_SIDE = 1568
_ANTHROPIC_PIXELS = 1_150_000
_PATCHES = 1536

_PATCH_FACTORS: tuple[tuple[str, float], ...] = (
    (r"gpt-(4\.1|5[.\d]*)-nano", 2.46),
    (r"gpt-(4\.1|5[.\d]*)-mini", 1.62),
    (r"o4-mini", 1.72),
)
_TILES: tuple[tuple[str, int, int], ...] = (  # tokens of the whole picture, and of each tile
    (r"gpt-4o-mini", 2833, 5667),
    (r"gpt-5", 70, 140),
    (r"o[13]", 75, 150),
    (r"", 85, 170),
)


def image_tokens(image: Image, model: str = "") -> int:
    """Estimated tokens of `image` for the model named `provider:model`; other providers: the larger
    of the two rules. A picture of unknown size counts as 1024 × 1024.
    """
    width, height = image.width, image.height
    if width <= 0 or height <= 0:
        width, height = _UNKNOWN_SIZE
    provider, _, name = model.partition(":")
    if provider == "anthropic":
        return _by_area(width, height)
    if provider == "openai":
        return _openai(width, height, name)
    return max(_by_area(width, height), _openai(width, height, ""))


def _by_area(width: int, height: int) -> int:
    shrink = min(
        1.0, _ANTHROPIC_SIDE / max(width, height), sqrt(_ANTHROPIC_PIXELS / (width * height))
    )
    return max(1, ceil(width * shrink * height * shrink / 750))


def _openai(width: int, height: int, name: str) -> int:
    for pattern, factor in _PATCH_FACTORS:
        if re.match(pattern, name):
            return ceil(min(_PATCHES, ceil(width / 32) * ceil(height / 32)) * factor)
    whole, tile = next((w, t) for pattern, w, t in _TILES if re.match(pattern, name))
    return whole + tile * _tiles(width, height)


def _tiles(width: int, height: int) -> int:
    shrink = min(1.0, 2048 / max(width, height))
    shrink *= min(1.0, 768 / (min(width, height) * shrink))
    return max(1, ceil(width * shrink / 512)) * max(1, ceil(height * shrink / 512))
