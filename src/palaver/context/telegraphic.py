"""Telegraphic style: a sentence without the words that say nothing of the matter.

For a quarter of the tokens it keeps about what whole sentences keep for half of them. Words that
turn a sentence round (not, never, without, only …) are never dropped, nor is anything with a digit.
Scripts that write no spaces stay as they are: what is no word by itself cannot be left out.
"""

from palaver.context.words_frequent import FREQUENT

# fmt: off
_TURNING = """
no not nor never none nobody nothing neither without only unless until except but or if before
after isn't aren't wasn't weren't don't doesn't didn't won't wouldn't can't cannot couldn't
shouldn't haven't hasn't hadn't dont doesnt didnt cant wont must should may
nicht kein keine nie niemals nichts ohne nur außer oder wenn aber bevor nein
ne n pas jamais rien sans aucun seulement sauf ni ou si mais avant non
no ni nunca jamás nada sin sólo solo excepto o si pero antes ningún
não nunca nem nada sem apenas só exceto ou se mas antes
non mai né niente senza solo o se ma prima
niet geen nooit niets zonder alleen of als maar voor nee
не нет ни никогда ничего без только кроме или если но до нельзя
nie nigdy nic bez tylko albo lub jeśli ale przed
değil yok hayır hiç asla sadece veya ama önce
tidak bukan jangan tanpa hanya atau jika tapi sebelum belum
không chưa đừng chỉ hoặc nếu nhưng trước
لا لم لن ليس بدون فقط غير أو إذا لكن قبل ما
नहीं न मत बिना सिर्फ केवल या अगर लेकिन पहले
안 못 아니 아니요 없는 하지만 만약 또는
"""
# fmt: on
_DROPPED = FREQUENT - frozenset(_TURNING.split())
_SIGNS = ".,;:!?…()[]{}\"'“”‘’«»*_-–—"


def telegraphic(sentence: str) -> str:
    """`sentence` without its frequent words; the sentence itself where nothing would be left."""
    tokens = sentence.split()
    kept = [token for token in tokens if _says(token)]
    return " ".join(kept) if kept else sentence


def _says(token: str) -> bool:
    bare = token.strip(_SIGNS)
    return bool(bare) and bare.lower().replace("’", "'") not in _DROPPED
