"""The API of OpenAI over Palaver's conversations, for clients that speak it already.

`app.install` puts it below `/v1`. `chat` and `responses` are its two ways of talking, `talk` finds
the conversation that a request means, `options` and `incoming` read what both have in common.
"""
