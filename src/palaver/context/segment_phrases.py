"""Stock phrases that mark topics, for sixteen languages; written by hand.

Short on purpose: a phrase has to be common to be worth its time. They are compared as `words`
normalises them, so spelling of apostrophes and case does not matter here. Phrases of scripts
without spaces are found as parts of the text.
"""

GREETING = """
hi, hello, hey, greetings, good morning, good afternoon, good evening, good day, hi there,
hallo, guten tag, guten morgen, guten abend, moin, servus, bonjour, salut, bonsoir, coucou,
hola, buenos días, buenas tardes, buenas noches, buenas, olá, oi, bom dia, boa tarde, boa noite,
ciao, salve, buongiorno, buonasera, goedemorgen, goedemiddag, goedenavond, goedendag, cześć,
dzień dobry, merhaba, selam, halo, selamat pagi, selamat siang, xin chào, chào bạn, привет,
здравствуйте, здравствуй, добрый день, доброе утро, добрый вечер, 你好, 您好, 大家好, 早上好,
こんにちは, こんばんは, おはよう, もしもし, 안녕하세요, 안녕, สวัสดี, नमस्ते, नमस्कार, مرحبا,
السلام عليكم, أهلا, صباح الخير, مساء الخير
"""
SHIFT = """
by the way, btw, another question, another topic, another thing, one more thing,
one more question, speaking of, change of topic, change of subject, changing the subject,
changing topics, change the subject, on another note, on a different note, on a side note,
on another topic, moving on, move on to, next topic, next question, next item, next thing,
something else, switching gears, switch gears, different question, different topic, new topic,
new question, unrelated question, separate question, while i have you, i also need, i also want,
i also wanted, i also have, anyway, anyways, let's move, let's talk, let's turn, let's discuss,
let's start, now let's, now i want, now i need, now can you, besides that, apart from that,
the other thing, übrigens, andere frage, andere sache, anderes thema, noch eine frage,
noch etwas, was anderes, apropos, au fait, autre question, autre chose, autre sujet, à propos,
passons à, par ailleurs, por cierto, otra pregunta, otra cosa, otra duda, cambiando de tema,
hablando de, a propósito, outra pergunta, outra coisa, outra dúvida, mudando de assunto,
falando em, falando nisso, a proposito, altra domanda, altra cosa, cambiando argomento,
trouwens, andere vraag, iets anders, кстати, другой вопрос, другая тема, ещё вопрос, еще вопрос,
ещё один вопрос, еще один вопрос, przy okazji, inne pytanie, jeszcze jedno, bu arada,
başka bir soru, başka bir konu, bir de, ngomong ngomong, pertanyaan lain, nhân tiện,
câu hỏi khác, 顺便, 另外, 还有一个问题, 还有个问题, 换个话题, 说到, 話は変わ, ところで,
別の質問, そういえば, 그런데 말, 그나저나, 다른 질문, بالمناسبة, سؤال آخر, موضوع آخر, वैसे,
एक और सवाल, एक और बात, दूसरा सवाल, อีกเรื่อง, อีกคำถาม, ว่าแต่
"""
CLOSING = """
thanks, thank you, thx, bye, goodbye, see you, take care, you're welcome, you are welcome,
that's all, that is all, that'll be all, that will be all, that's it, that's everything,
have a great, have a good, have a nice, have a wonderful, no problem, my pleasure, enjoy your,
anything else, glad i could, glad to help, danke, dankeschön, vielen dank, tschüss,
auf wiedersehen, gern geschehen, das war alles, das wäre alles, das ist alles, merci, au revoir,
de rien, c'est tout, bonne journée, bonne soirée, gracias, adiós, de nada, hasta luego,
eso es todo, obrigado, obrigada, tchau, até logo, é só isso, grazie, arrivederci, prego,
è tutto, bedankt, dank je, tot ziens, dziękuję, do widzenia, спасибо, до свидания, не за что,
это всё, это все, teşekkürler, teşekkür ederim, hoşça kal, terima kasih, sama sama, cảm ơn,
tạm biệt, 谢谢, 再见, 不客气, 没有了, ありがとう, さようなら, どういたしまして, 감사합니다,
고마워, 안녕히, شكرا, شكراً, مع السلامة, العفو, धन्यवाद, शुक्रिया, अलविदा, ขอบคุณ, ลาก่อน,
ยินดีค่ะ
"""
ACKNOWLEDGING = """
yes, yeah, yep, yup, yea, no, nope, nah, ok, okay, sure, right, exactly, true, great, cool,
nice, wow, oh, ah, lol, ha, haha, hahaha, hm, hmm, mm, mm hmm, uh huh, alright, awesome, indeed,
absolutely, definitely, certainly, of course, got it, i see, good, perfect, that, me too, same,
agreed, correct, well, very, really, not, neither, so do, sounds, interesting, understood, ja,
nein, doch, genau, stimmt, klar, gut, schön, toll, ach, verstehe, oui, non, d'accord, bien sûr,
exactement, super, je vois, sí, si, claro, vale, bueno, exacto, entiendo, sim, não, certo, isso,
entendi, sì, va bene, esatto, capisco, nee, goed, klopt, tak, nie, dobrze, evet, hayır, tamam,
да, нет, ага, конечно, хорошо, ладно, понятно, точно, верно, отлично, ясно, ya, tidak, baik,
vâng, không, 是的, 对, 好的, 好, 嗯, 不是, 没有, 当然, 明白, はい, いいえ, うん, ええ, そう,
なるほど, 네, 예, 아니, 그래, 맞아, 알겠, نعم, لا, حسنا, حسناً, بالطبع, हाँ, हां, नहीं, जी, ठीक,
अच्छा, ใช่, ไม่, ได้, โอเค
"""
LEANING = """
and, but, or, because, also, so, then, which, what about, how about, why, how so, like what,
too, und, aber, oder, weil, auch, also, dann, wieso, warum, et, mais, ou, donc, alors, parce,
pourquoi, aussi, y, pero, porque, entonces, también, por qué, e, então, também, por quê, perché,
allora, anche, maar, dus, waarom, ale, więc, dlaczego, ama, peki, neden, tapi, jadi, và, nhưng,
tại sao, и, а, но, потому, тогда, тоже, также, почему, зачем, значит, 那, 但, 可是, 所以, 因为,
也, 为什么, 还有, でも, だから, それ, じゃ, なぜ, 그럼, 그건, 하지만, 왜, لكن, لماذا, إذن, ثم,
और, लेकिन, क्यों, तो, फिर, แล้ว, แต่, ทำไม, เพราะ
"""
ECHO = """
what about you, how about you, and you, about yourself, and yours, you too, what of you, wbu,
hbu, what about yours, do you too, und du, und dir, und ihnen, und selbst, et toi, et vous,
y tú, y tu, y usted, y vos, e você, e tu, e te, e lei, en jij, en jou, en u, а ты, а вы,
а у тебя, а у вас, a ty, ya sen, peki sen, kalau kamu, còn bạn, 你呢, 您呢, あなたは, 너는,
당신은, وأنت, وانت, और आप, और तुम, แล้วคุณ
"""
REQUEST = """
can you, could you, would you, will you, can i, could i, can we, could we, may i, i need,
i want to, i'd like, i would like, i want you, i'm looking, i am looking, i'm trying,
i am trying, i'm planning, i am planning, i have a question, help me, tell me, give me, show me,
please write, please explain, is there, are there, do you, have you, did you, are you,
können sie, kannst du, könnten sie, könntest du, ich möchte, ich brauche, ich suche,
ich hätte gern, hast du, haben sie, gibt es, pouvez vous, peux tu, pourriez vous, je voudrais,
je veux, je cherche, j'ai besoin, est ce que, as tu, avez vous, y a t il, puedes, puede,
podrías, podría, quiero, quisiera, necesito, me gustaría, busco, tienes, hay, pode, poderia,
preciso, gostaria, quero, você pode, você tem, puoi, può, vorrei, ho bisogno, cerco, hai,
kun je, kunt u, ik wil, ik zoek, heb je, chcę, chciałbym, chciałabym, potrzebuję, czy możesz,
czy masz, можете, можешь, не могли бы, мне нужно, мне нужна, мне нужен, я хочу, хотел бы,
хотела бы, подскажите, расскажи, расскажите, помоги, помогите, у тебя есть, istiyorum, lütfen,
misiniz, mısınız, bisakah, tolong, saya ingin, saya mau, saya perlu, apakah, tôi muốn, tôi cần,
bạn có thể, bạn có, 请, 帮我, 我想, 我要, 我需要, 能不能, 告诉我, 有没有, ください, お願いし,
たいです, 教えて, ほしい, 주세요, 싶어요, 싶습니다, 알려, 해 줘, أريد, هل يمكن, هل, أحتاج,
ساعدني, من فضلك, मुझे, कृपया, क्या आप, बताइए, बताओ, ช่วย, อยาก, ต้องการ
"""
ASKING = """
who, whose, what, when, where, how, which, what's, who's, where's, how's, write, explain,
describe, find, create, list, suggest, recommend, imagine, suppose, translate, summarize, was,
wer, wann, wo, wie, welche, welcher, welches, qui, que, quand, où, comment, quel, quelle, quels,
quelles, quién, qué, cuándo, dónde, cómo, cuál, quem, quando, onde, qual, quais, chi, cosa,
dove, come, quale, wie, wat, wanneer, waar, hoe, welke, kto, co, kiedy, gdzie, jak, jaki, kim,
ne, nerede, nasıl, hangi, кто, что, когда, где, как, какой, какая, какие, сколько, apa, siapa,
kapan, bagaimana, 谁, 什么, 怎么, 哪, 为什么, どこ, いつ, 何, 누구, 무엇, 언제, 어디, 어떻게,
من, ما, متى, أين, كيف, क्या, कौन, कब, कहाँ, कैसे
"""
POINTERS = """
it, its, it's, that, this, these, those, they, them, their, he, him, his, she, her, one, ones,
there, then, too, also, same, such, else, either, neither, both, another, instead, das, dies,
diese, dieser, dieses, er, sie, ihn, ihm, ihr, ihre, davon, damit, dafür, darüber, auch, dann,
dort, il, elle, ils, elles, ça, cela, cette, ces, lui, leur, leurs, aussi, eso, esa, ese, esto,
esta, este, ello, él, ella, ellos, ellas, también, tampoco, allí, isso, isto, ele, ela, eles,
elas, dele, dela, também, lá, esso, essa, lei, loro, questo, quello, anche, dat, dit, deze, hij,
zij, ook, daar, jego, jej, też, tam, bu, şu, onun, это, этот, эта, эти, тот, он, она, они, оно,
его, её, ее, их, им, тоже, также, там, такой, itu, ini, dia, mereka, juga, đó, này, nó, họ,
cũng, 这个, 那个, 这些, 那些, 他, 她, 它, 他们, 她们, 也是, 这样, 那样, それ, これ, あれ, その,
この, 彼は, 彼女, 그것, 그거, 그건, 이것, 이거, 그는, هذا, هذه, ذلك, تلك, هو, هي, هم, أيضا, यह,
वह, ये, वे, उस, इस, उन, भी, มัน, นั้น, นี้, เขา
"""
