"""Words that say nothing of a matter: the commonest function words of eighteen languages.

Written by hand. A language that is missing here loses little: what stands in most of a
conversation's messages weighs little anyway. Forms are as `words` gives them; for Chinese and
Japanese they are the pairs that ordinary phrases are full of.
"""

_ENGLISH = """a an the and or but if then than so as of at by for from in into on onto out over
to up down off with without about after before between through during under again once is am are
was were be been being do does did doing done have has had having will would shall should can
could may might must ought i me my mine myself you your yours yourself he him his himself she
her hers herself it its itself we us our ours ourselves they them their theirs themselves this
that these those there here who whom whose which what when where why how all any both each few
more most other others some such no nor not only own same too very just also even still yet ever
never always often really quite well much many lot lots bit i'm i've i'd i'll you're you've
you'd you'll we're we've we'd we'll they're they've they'd they'll isn't aren't wasn't weren't
don't doesn't didn't won't wouldn't can't cannot couldn't shouldn't haven't hasn't hadn't im ive
dont doesnt didnt cant wont thats yes yeah yep no nope ok okay oh ah um uh hm hmm mm wow well
like lol haha ha gonna wanna gotta kind sort thing things something anything everything nothing
someone anyone everyone one ones get gets got getting go goes going gone went come comes came
make makes made let know think mean say said see want need take put use sure right maybe
actually because while though although since until per please thank thanks hello hi hey bye re
ve ll d s t m sorry good great nice cool"""

_GERMAN = """der die das den dem des ein eine einen einem einer eines und oder aber wenn dann
als so wie von zu zum zur bei für aus in im an am auf um mit ohne über nach vor zwischen durch
während unter wieder ist bin bist sind waren sei sein seine seinen hat habe haben hatte hatten
wird werde werden wurde würde würden kann können könnte könnten soll sollte sollten muss müssen
darf mag möchte ich mich mir mein meine meinen du dich dir dein deine er ihn ihm sie ihr ihre es
wir uns unser euch euer man sich dieser diese dieses diesen diesem jene hier da dort wer wen was
wann wo warum wieso welche welcher welches alle jeder jede jedes kein keine keinen nicht nur
auch noch schon sehr mehr viel viele etwas nichts immer nie mal eben halt doch denn ja nein gut
gern bitte danke hallo dass ob weil damit gibt geht machen macht gemacht"""

_FRENCH = """le la les un une des du de d et ou mais si alors que qu qui quoi dont où comme au
aux à par pour dans en sur sous avec sans vers chez entre avant après pendant est suis es sommes
êtes sont était étaient être été ai as a avons avez ont avait avoir sera serait fait faire fais
peut peux pouvez pouvoir dois doit veux veut voudrais je j me m moi mon ma mes tu te t toi ton
ta tes il elle on se s lui sa ses nous notre nos vous votre vos ils elles leur leurs ce c cet
cette ces ça cela ceci ici là y quand pourquoi comment quel quelle quels quelles tout toute tous
toutes aucun autre autres même ne n pas plus moins très trop aussi encore déjà bien bon oui non
merci bonjour salut svp"""

_SPANISH = """el la los las un una unos unas y e o u pero si entonces que de del al a por para
en con sin sobre entre hasta desde es soy eres somos son era eran ser sido fue fueron estoy está
están estar estaba he has ha hemos han haber había hay hace hacer tengo tiene tener puede puedo
puedes poder debo debe quiero quiere quisiera yo me mi mis mí tú te ti tu tus él ella ello se su
sus lo le les nosotros nos nuestro nuestra ustedes usted vosotros ellos ellas este esta esto
estos estas ese esa eso esos esas aquel aquí ahí allí quien quién qué cuando cuándo donde dónde
porque cómo como cuál cual todo toda todos todas cada otro otra otros otras mismo misma no ni
muy más menos también ya aún bien bueno sí gracias hola favor"""

_PORTUGUESE = """o a os as um uma uns umas e ou mas se então que de do da dos das ao aos à às
por para em no na nos nas com sem sobre entre até desde é sou és somos são era eram ser sido foi
foram estou está estão estar estava tenho tem ter tinha há faz fazer pode posso poder devo deve
quero quer gostaria eu me mim meu minha meus minhas tu te você vocês ele ela eles elas seu sua
seus suas lhe nós nosso nossa isso isto este esta esse essa aquele aquela aqui ali lá quem quê
quando onde porque como qual quais todo toda todos todas cada outro outra não nem muito mais
menos também já ainda bem bom sim obrigado obrigada olá oi"""

_ITALIAN = """il lo la i gli le un uno una e ed o ma se allora che di del dello della dei degli
delle a al allo alla ai agli alle da dal dalla in nel nella nei con su sul sulla per tra fra
senza è sono sei siamo siete era erano essere stato ho hai ha abbiamo avete hanno avere fa fare
posso puoi può devo deve voglio vuole vorrei io me mi mio mia miei mie tu te ti tuo tua lui lei
si suo sua noi ci nostro nostra voi vi loro questo questa questi queste quello quella qui lì là
chi cosa quando dove perché come quale quali tutto tutta tutti tutte ogni altro altra non né
molto più meno anche già ancora bene buono sì no grazie ciao"""

_DUTCH = """de het een en of maar als dan dat die dit deze er hier daar wie wat wanneer waar
waarom hoe welke van voor naar bij met zonder over onder tussen door in op aan uit om te tot is
ben bent zijn was waren wordt worden heb hebt heeft hebben had kan kunnen kun zal zou zullen
moet moeten mag wil willen ik me mij mijn je jij jou jouw u uw hij hem zijn zij ze haar wij we
ons onze hun hen alle elk geen niet ook nog al wel heel veel meer ja nee goed graag dank bedankt
hallo"""

_RUSSIAN = """и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по
только ее её мне было вот от меня еще ещё нет о об из ему теперь когда даже ну ли если уже или
ни быть был была были него до вас вам ваш ваша нас нам наш вы мы они им их это эта этот эти том
тот того этого этой тем чем чтобы для без при через над под между мой моя мои твой тебя тебе
себя свой кто где почему как какой какая какие который которая которые сколько есть будет могу
может можно надо нужно хочу очень тоже также там тут здесь потом тогда просто спасибо привет
здравствуйте пожалуйста"""

_POLISH = """i w we z ze na do od po za o u przez dla bez przy nad pod nie tak to ta ten te ci
jest są był była było być mam masz ma mieć może mogę można chcę chce ja mnie mi mój moja ty cię
ci twój on ona ono go jej jego my nas nam wy was oni one ich się co kto gdzie kiedy dlaczego jak
jaki jaka jakie który która które czy ale lub albo oraz więc że żeby bo już jeszcze też także
bardzo tylko wszystko dziękuję cześć proszę"""

_TURKISH = """ve veya ama ile için gibi bir bu şu o ben sen biz siz onlar beni seni benim senin
onun bana sana ona mi mı mu mü ne nasıl neden niçin kim nerede hangi kaç değil var yok evet
hayır çok daha en da de ki ya hem her şey olan olarak olur oldu ise kadar sonra önce merhaba
teşekkür teşekkürler lütfen"""

_INDONESIAN = """yang dan atau tetapi tapi jika maka di ke dari pada untuk dengan tanpa oleh
dalam adalah ini itu saya aku kamu anda dia kami kita mereka apa siapa kapan mana mengapa kenapa
bagaimana bisa dapat akan sudah telah belum tidak bukan ada juga lagi sangat lebih semua ya
terima kasih halo tolong"""

_VIETNAMESE = """và hoặc nhưng nếu thì là của cho với không có được này đó kia tôi bạn anh chị
em nó họ chúng ta mình gì ai khi nào đâu tại sao thế một các những cũng rất đã đang sẽ ở trong
ra vào lên xin chào cảm ơn vâng"""

_ARABIC = """في من على الى إلى عن مع هذا هذه ذلك تلك التي الذي الذين ان أن إن كان كانت يكون هو
هي هم نحن انا أنا انت أنت ما ماذا متى اين أين كيف لماذا هل كم لا لم لن ليس قد كل بعض أو او ثم
لكن اذا إذا حتى بعد قبل عند بين غير أي اي لي لك له لها نعم شكرا مرحبا وهو وهي يا أريد يمكن
يمكنني فقط جدا أيضا"""

_HINDI = """है हैं था थी थे हो हूँ हूं होता होती का की के को से में पर ने और या लेकिन अगर तो कि
जो यह वह ये वे मैं मुझे मेरा मेरी मेरे हम हमें आप आपका आपकी आपके तुम उस इस उन इन क्या कौन कब
कहाँ कहां क्यों कैसे कितना नहीं न भी ही बहुत कुछ सब एक लिए साथ बाद पहले कर करना करने रहा रही रहे
गया गई सकता सकते सकती हाँ हां जी धन्यवाद नमस्ते कृपया"""

_KOREAN = """그 이 저 것 수 등 및 또는 그리고 하지만 그런데 그래서 만약 나 나는 내 너 너는 우리
저는 제가 무엇 뭐 누구 언제 어디 왜 어떻게 어떤 있는 있어요 있습니다 없는 없어요 하는 해요
합니다 입니다 이에요 예요 네 아니요 아니 예 더 잘 좀 너무 정말 아주 안녕하세요 감사합니다"""

_CHINESE = """我们 你们 他们 她们 这个 那个 这些 那些 什么 怎么 怎样 为什 么样 可以 以及 因为
所以 如果 但是 还是 或者 就是 不是 没有 有没 是的 好的 一个 一下 一些 自己 已经 非常 现在 时候
知道 觉得 请问 你好 您好 谢谢 不客 客气 是不 能不 这样 那样 我的 你的 他的 的是 了一 是一 想要
我想 你能 能告 告诉 诉我 吗我 也是 都是 我 你 他 她 它 的 了 是 在 和 有 不 也 都 就 很 吗 呢 吧
啊 这 那 要 会 能 好"""

_JAPANESE = """です ます ませ せん した して てい いる いま ます すか とか から まで ので のは
のが のを とい いう こと もの ある あり りま これ それ あれ この その ここ そこ どこ なに 何か
どう うで なる なり でき きる する ない なく たい いで でし しょ ょう よう うに とて ても はい
いえ 私は あな なた お願 願い がと とう はな が、 は、 ください さい くだ だけ たの ました まし
ですね すね んで"""

FREQUENT = frozenset(
    " ".join(
        (
            *(_ENGLISH, _GERMAN, _FRENCH, _SPANISH, _PORTUGUESE, _ITALIAN, _DUTCH, _RUSSIAN),
            *(_POLISH, _TURKISH, _INDONESIAN, _VIETNAMESE, _ARABIC, _HINDI, _KOREAN),
            *(_CHINESE, _JAPANESE),
        )
    ).split()
)
