"""How people say what must hold, what was wrong and what is settled, in twenty-four languages.

A constraint binds what comes later ("always", "never", "must", "only", "without"), a correction
takes something back ("no, I meant"), a decision settles it ("let's go with"). The lists are written
by hand, of words that are common in this use and rare in any other; what they miss is still in the
originals, what they find wrongly costs a sentence.

Alternatives are parted by bars. Where a script separates words they count as wholes; the others are
looked for as they stand.
"""

import re
from typing import NamedTuple


class Cue(NamedTuple):
    """Patterns over lower-case text."""

    latin: re.Pattern[str]
    """Within ASCII text nothing else can be found."""
    other: re.Pattern[str]

    def starts(self, text: str) -> list[int]:
        """Where in `text` somebody says so."""
        found = [match.start() for match in self.latin.finditer(text)]
        if not text.isascii():
            found += [match.start() for match in self.other.finditer(text)]
        return found


def _cue(latin: str, cyrillic: str, unspaced: str) -> Cue:
    return Cue(
        re.compile(_whole(latin)), re.compile(f"{_whole(cyrillic)}|{_alternatives(unspaced)}")
    )


def _whole(listed: str) -> str:
    return rf"(?<![^\W_])(?:{_alternatives(listed)})(?![^\W_])"


def _alternatives(listed: str) -> str:
    return "|".join(part for line in listed.splitlines() for part in _parts(line))


def _parts(line: str) -> list[str]:
    # A bar between spaces parts alternatives; one without belongs to a group within.
    return [part.strip() for part in line.split(" | ") if part.strip(" |")]


CONSTRAINT = _cue(
    latin=r"""
    always | never | (?<!there )must(?:n't)?
    do(?: not|n't) (?!(?:know|think|understand|see|have|worry|you|we|i|remember|recall|mind)\b)\w+
    only | avoid | without | make sure | ensure | at (?:most|least)
    no (?:more|less|later|earlier|longer) than | not (?:more|less|later) than
    under no circumstances | from now on | in future | whatever you do | remember (?:that|to)
    keep in mind | is (?:off.limits|mandatory)
    should(?:n't| not| always| never| only) | ha(?:s|ve) to be | need(?:s)? to be
    (?:is|are) required | require[sd]? | stick to | prefer(?:ably|s)? | rather than | except
    unless | no \w+ allowed | not allowed | my budget | budget is | deadline | allergic | vegan
    vegetarian | please use | in (?:english|german|french|spanish) only
    immer | nie(?:mals)? | muss | müssen | darf | dürfen | nur | ohne | keinesfalls
    auf keinen fall | ab jetzt | bitte kein\w* | höchstens | mindestens | vermeide\w* | unbedingt
    stets | außer | ausschließlich | soll(?:te|st|en)? (?:nicht|immer|nur)
    toujours | jamais | doi(?:s|t|vent) | devez | faut | seulement | uniquement | sans
    évite[zr]? | au (?:plus|moins) | sauf | désormais | en aucun cas | ne \w+ pas | n'\w+ pas
    assure[sz]?[- ](?:toi|vous) | interdit\w* | obligatoire\w*
    siempre | nunca | jamás | deb(?:e|es|en|emos) | solo | sólo | únicamente | sin | evita\w*
    como (?:máximo|mínimo) | a partir de ahora | en ningún caso | asegúrate | excepto | salvo
    obligatori\w+ | tiene que | no (?:uses|hagas|cambies|toques|borres)
    sempre | deve[ms]? | somente | apenas | sem | evite | no (?:máximo|mínimo) | a partir de agora
    certifique-se | exceto | não (?:use|faça|mude|altere|apague) | mai | devono | soltanto | solo
    senza | evita | al massimo | almeno | d'ora in poi | tranne
    altijd | nooit | moet(?:en)? | alleen | zonder | vermijd | hoogstens | minstens | voortaan
    behalve | mag niet | alltid | aldrig | måste | endast | bara | utan | undvik | högst | minst
    får inte
    zawsze | nigdy | musi(?:sz|my)? | tylko | wyłącznie | bez | unikaj | najwyżej | co najmniej
    od teraz | oprócz | nie wolno
    her zaman | daima | asla | sadece | yalnızca | hariç | en (?:fazla|az) | zorunda\w* | gerek\w*
    olmadan | kullanma | selalu | jangan | tidak boleh | harus | hanya | tanpa | kecuali
    paling (?:banyak|sedikit) | mulai sekarang
    luôn(?: luôn)? | không bao giờ | không được | đừng | phải | chỉ | tránh | tối đa | ít nhất
    từ giờ | trừ khi
    """,
    cyrillic=r"""
    всегда | никогда | должн\w* | нельзя | только | без | избегай\w*
    не (?:более|менее|больше|меньше|используй\w*|меняй\w*|трогай\w*|удаляй\w*) | обязательно
    отныне | кроме | ни в коем случае | минимум | максимум | завжди | ніколи | повин\w+ | тільки
    лише | не можна | обов'язково
    """,
    unspaced=r"""
    دائما | دائمًا | أبدا | أبدًا | يجب | لا تستخدم | لا تغير | فقط | بدون | تجنب | على الأكثر
    على الأقل | من الآن فصاعد | ممنوع | باستثناء | لا تنس
    همیشه | هرگز | هیچ‌وقت | هیچ وقت | باید | نباید | فقط | بدون | حداکثر | حداقل | از این به بعد
    به جز
    תמיד | אף פעם | לעולם לא | חייב | אסור | רק\s | בלי\s | ללא\s | לכל היותר | לפחות | מעכשיו
    אל ת
    हमेशा | कभी नहीं | कभी मत | ज़रूर | जरूर | चाहिए | केवल | सिर्फ | बिना | के बिना | मत कर
    अनिवार्य | अब से | कम से कम | ज्यादा से ज्यादा | ज़्यादा से ज़्यादा
    সবসময় | সর্বদা | কখনো না | কখনও না | অবশ্যই | শুধু | ছাড়া | কমপক্ষে | সর্বোচ্চ
    เสมอ | ห้าม | อย่า | ต้อง | เท่านั้น | ไม่เกิน | อย่างน้อย | หลีกเลี่ยง | นับจากนี้ | ยกเว้น
    โดยไม่
    항상 | 언제나 | 절대 | 반드시 | 꼭\s | 만 사용 | 하지 ?마 | 하지 ?말 | 말아 | 없이 | 최대
    최소 | 이상으로 | 이내 | 앞으로는 | 해야 | 안 ?됩니다 | 안 ?돼
    总是 | 始终 | 永远 | 一定 | 必须 | 必需 | 不要 | 不得 | 不能 | 不准 | 不许 | 禁止 | 切勿
    请勿 | 只能 | 只用 | 仅限 | 只要 | 至少 | 至多 | 最多 | 最少 | 不超过 | 避免 | 务必 | 从现在起
    从现在开始 | 今后 | 除了 | 除非 | 別用 | 别用 | 總是 | 必須 | 只能 | 禁止 | 務必
    必ず | いつも | 常に | 絶対 | 決して | ないでください | しないで | てはいけ | てはなら
    なければ | だけ | のみ | 以内 | 以下に | 以上に | 避けて | 禁止 | 今後 | 今から | 使わず
    なしで | 最大で | 少なくとも
    """,
)
CORRECTION = _cue(
    latin=r"""
    no,? (?:i (?:meant|said|want(?:ed)?|asked)|not|that's|it's|the|use) | i (?:actually )?meant
    not what i | that(?:'s| is|'s| was) (?:not (?:right|correct|what)|wrong|incorrect)
    (?:you're|you are|is) wrong | actually, | actually i (?:want|meant|need|prefer)(?:ed)?
    correction | scratch that | on second thought | i changed my mind | i said
    i (?:already |just )told you | (?:you )?misunderstood | sorry,? i (?:meant|mean|wanted)
    wait,? (?:no|that|i) | undo that | revert
    nein | ich meinte | falsch | stimmt nicht | doch nicht | sondern
    ich habe (?:doch )?gesagt | korrektur | eigentlich | non,? (?:je|pas) | je voulais dire
    plutôt | c'est faux | erreur | en fait | finalement
    no,? (?:quise|quiero|me refería|es) | quise decir | me refería
    incorrecto | está mal | mejor dicho | não,? (?:eu|quis|era) | quis dizer | errado
    na verdade | no,? (?:intendevo|volevo) | intendevo | sbagliato | anzi
    nee,? (?:ik|niet) | ik bedoel(?:de)? | in plaats (?:van|daarvan) | fout | nej | jag menade
    istället | fel | nie,? (?:chodziło|miał\w+) | chodziło mi | źle | błąd | właściwie
    hayır | demek istedim | yanlış | aslında | bukan | maksud saya
    salah | sebenarnya | không phải | ý tôi là | sai rồi
    """,
    cyrillic=r"""
    нет,? (?:я|не|это) | я имел\w* в виду | вместо | неправильно | неверно | ошибк\w+
    на самом деле | я же говорил\w* | ні,? я | я мав на увазі
    """,
    unspaced=r"""
    لا،\s | لا، كنت أقصد | أقصد | قصدت | خطأ | غير صحيح | في الواقع | نه،\s
    منظورم | اشتباه | לא,\s | התכוונתי | טעות
    नहीं,\s | मेरा मतलब | गलत | ग़लत | दरअसल | না,\s | আমি বলতে চেয়েছি | ভুল
    ไม่ใช่ | หมายถึง | ผิด | จริงๆ แล้ว
    아니 | 제 말은 | 내 말은 | 말고 | 틀렸 | 잘못 | 사실은 | 不对 | 不是这 | 不是， | 不，
    我的意思是 | 我是说 | 我说的是 | 而是 | 错了 | 搞错 | 其实 | 應該是
    应该是
    違い | 違う | 違って | そうではな | じゃなくて | ではなく | という意味 | 間違
    訂正 | やっぱり | 実は
    """,
)
INSTEAD = _cue(
    latin=r"""
    instead | rather not | stattdessen | lieber nicht
    à la place | en lugar de | em vez de | invece
    in plaats daarvan | istället | zamiast | yerine | sebagai gantinya | thay vào đó
    """,
    cyrillic=r"""
    вместо этого | замість
    """,
    unspaced=r"""
    بدلا من | بدلاً من | به جای | במקום | के बजाय | এর বদলে
    แทน | 대신 | 改成 | 改为 | 换成 | 代わりに
    """,
)
DECISION = _cue(
    latin=r"""
    (?:let's|lets|let us|we'll|we will|i'll|i will|we) (?:go|stick|stay|settle) (?:with|on|for)
    i'd like to go with | (?:we|i)(?:'ve| have)? (?:decided|agreed|chose|settled|picked)
    decision(?: is|:) | decided (?:to|on) | final (?:choice|decision) | agreed on | the plan is
    wir nehmen | ich nehme | entschieden | entscheidung | beschlossen | machen wir
    bleiben wir bei | on (?:part|prend|garde) | décid\w+ | je prends | (?:nos )?quedamos con
    decid(?:í|imos|ido|iram) | vamos con | elijo
    me quedo con | vamos (?:usar|ficar|de) | escolh\w+
    ficamos com | deciso | scelgo | prendiamo | usiamo
    besloten | we nemen | we gebruiken | bestämt | vi tar | zdecydowa\w+ | wybieram\w*
    karar ver\w+ | seç(?:tim|iyorum|tik) | diputuskan | kita pakai | saya pilih | quyết định
    chốt | chọn
    """,
    cyrillic=r"""
    решил\w* | решено | выбира\w+ | выбрал\w* | остановимся на | берём | берем | вирішили | обираю
    """,
    unspaced=r"""
    قررت | قررنا | سنستخدم | اخترت | تصمیم گرفت | انتخاب کرد | החלטנו | החלטתי | נבחר ב | तय किया
    फैसला | चुनता | चुनते | সিদ্ধান্ত | ตัดสินใจ | ตกลงใช้ | เลือก
    결정 | 정했 | 선택하겠 | 로 하겠 | 로 할게 | 决定 | 定下来 | 就用 | 就这么 | 选择了 | 选定
    采用 | 確定 | 决定 | 決め | にします | に決 | 採用
    """,
)
CHOICE = _cue(
    latin=r"""
    (?:we|i)(?:'ll| will) (?:use|keep|switch to|take(?! care)) | going with
    """,
    cyrillic="возьму | оставим",
    unspaced="我要这个 | 我选 | これにする | 이걸로",
)
