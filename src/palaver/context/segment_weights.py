"""The fitted numbers of topic segmentation, and where they come from.

`WEIGHTS` add up to the logarithm of the odds that a topic opens at a place, next to `COHESION`
times what a boundary gains in the prediction of words (`segment`), `BIAS`, and `WORDS_SAID` times
the logarithm of the number of content words. They were fitted together, by penalised logistic
regression on places whose neighbouring boundaries are known, on the training split of TIAGE and on
dialogues of public collections joined end to end; no test split and no meeting was used.
"""

COHESION = 0.187
BIAS = -0.60
WORDS_SAID = -0.31

WEIGHTS = {
    "no_content": -2.74,
    "said_just_before": -2.96,
    "said_3_before": -3.36,
    "said_6_before": 0.16,
    "said_any": 0.01,
    "new": -0.68,
    "new_goes_on": 0.44,
    "later_old": -0.36,
    "no_bridge": -0.36,
    "bridge": -1.94,
    "next_leans_back": -0.63,
    "previous_dropped": 0.58,
    "previous_bound": 0.12,
    "greets": 2.67,
    "shifts": -0.13,
    "closes": -2.13,
    "acknowledges": -0.40,
    "leans": -0.06,
    "pointers": -0.74,
    "asks": 0.74,
    "asks_last": -0.43,
    "echoes": -0.16,
    "requests": 0.93,
    "before_greets": -0.69,
    "before_shifts": -0.11,
    "before_closes": 0.70,
    "before_asks_last": -1.10,
    "before_echoes": -0.25,
    "before_requests": -0.74,
    "before_leans": -0.24,
    "after_acknowledges": 0.16,
    "after_leans": -0.05,
    "after_pointers": -0.08,
    "after_asks_last": 0.33,
    "after_closes": -0.71,
    "after_greets": -1.96,
    "earlier_closes": -0.02,
    "earlier_asks_last": -0.21,
    "length": 0.61,
    "before_length": -0.17,
    "after_length": 0.47,
    "cold_question": 0.48,
    "nod_and_question": 0.45,
    "answer_and_question": 0.70,
    "after_an_answer": -0.09,
    "second": -1.59,
    "third": -0.49,
    "last": 0.62,
    "one_of_last_two": -0.81,
    "assistant": -2.79,
    "machine": -3.59,
}
