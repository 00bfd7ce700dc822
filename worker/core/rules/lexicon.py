"""Words and phrases by which properties are told; all in small letters, with a straight apostrophe and single spaces.

Hedges and boosters follow the groups of K. Hyland, "Metadiscourse" (2005), shortened to words with one use.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HEDGES = _words(
    "about almost apparent apparently appears approximately arguably around assume believe could doubt estimate "
    "fairly feel frequently generally guess indicate largely likely mainly may maybe might mostly often perhaps "
    "plausible plausibly possible possibly presumably probable probably quite rather relatively roughly seems "
    "sometimes somewhat suggest suggests suppose suspect tend tends typical typically uncertain unclear unlikely "
    "usually"
)
BOOSTERS = _words(
    "absolutely actually always certain certainly clear clearly completely conclusively definite definitely "
    "entirely evident evidently fully indeed indisputable must never obvious obviously perfectly proves "
    "really sure surely totally truly undeniably undoubtedly undoubted"
)
FIRST_PERSON = _words("i i'm i've i'd i'll me my mine myself we we're we've we'll us our ours ourselves")
SECOND_PERSON = _words("you you're you've you'd you'll your yours yourself yourselves")
CONNECTIVES = _words(
    "accordingly although because but consequently finally first firstly furthermore hence however instead lastly "
    "meanwhile moreover nevertheless next otherwise second secondly similarly since so still then therefore though "
    "thus whereas while yet"
)
NEGATIONS = _words("no not none nothing never neither nor cannot can't don't doesn't didn't isn't won't")
MARKS = {
    **dict.fromkeys(sorted(CONNECTIVES), "connective"),
    **dict.fromkeys(sorted(NEGATIONS), "negation"),
    **dict.fromkeys(sorted(BOOSTERS), "booster"),
    **dict.fromkeys(sorted(HEDGES), "hedge"),
    **dict.fromkeys(sorted(FIRST_PERSON), "first person"),
    **dict.fromkeys(sorted(SECOND_PERSON), "second person"),
}
"""What each word marks; a word has one mark."""

REFUSALS = (
    "i can't help", "i cannot help", "i can't assist", "i cannot assist", "i'm not able to", "i am not able to",
    "i'm unable to", "i am unable to", "i can't provide", "i cannot provide", "i won't be able to", "i must decline",
    "i can't do that", "i cannot do that", "i can't comply", "i cannot comply", "i can't fulfill", "i cannot fulfill",
    "i cannot answer", "i can't answer", "i'm not comfortable", "i will not provide", "i won't provide",
)  # fmt: skip
APOLOGIES = ("i'm sorry", "i am sorry", "sorry,", "i apologize", "i apologise", "my apologies", "apologies for")
DISCLAIMERS = (
    "as an ai", "as a language model", "as a large language model", "i'm an ai", "i am an ai", "i'm just an ai",
    "not a substitute for professional", "consult a professional", "consult a doctor", "consult a lawyer",
    "consult with a", "seek professional", "not legal advice", "not medical advice", "not financial advice",
    "my knowledge cutoff", "my training data",
)  # fmt: skip
FLATTERY = (
    "great question", "good question", "excellent question", "interesting question", "what a great", "what a good",
    "what an excellent", "what an interesting", "what a fascinating", "great idea", "excellent idea", "good point",
    "great point", "you're absolutely right", "you are absolutely right", "fantastic question", "wonderful question",
    "that's a great", "that is a great", "that's an excellent", "that's a good",
)  # fmt: skip
OFFERS = (
    "let me know", "feel free to", "happy to help", "happy to assist", "if you need", "if you have any",
    "would you like", "do you want me to", "i hope this helps", "hope this helps", "hope that helps",
    "don't hesitate", "here to help", "if you'd like", "if you want me to", "i can also",
)  # fmt: skip
PLACEHOLDERS = (
    "[insert", "[your ", "[name]", "[date]", "[company", "lorem ipsum", "<your ", "your_api_key", "your code here",
    "rest of the code", "xxx-xxx", "[link]", "[url]",
)  # fmt: skip
EXAMPLES = ("for example", "for instance", "e.g.", "such as", "let's say", "zum beispiel", "z. b.")
SUMMARIES = (
    "in summary",
    "in conclusion",
    "to summarize",
    "to summarise",
    "to sum up",
    "overall,",
    "in short",
    "tl;dr",
)

LANGUAGES = {
    "en": _words("the of and to in is that it for was with are this you have not be what how"),
    "de": _words("der die und das ist nicht ein eine zu den mit sich auf für von auch wie ich dem sind"),
    "fr": _words("le la les et des est une que pour dans qui pas sur avec vous sont du au plus ce"),
    "es": _words("el la los que y en un una es por con para las del se no como su más está"),
    "it": _words("il di che è la un una per non sono con del della gli le come più anche nel ha"),
    "pt": _words("o a os que e um uma é por com para não do da em se como mais dos são"),
    "nl": _words("de het een en van is niet dat op te zijn voor met die aan er maar ook ik je"),
}
"""The commonest words of some languages in Latin letters."""
