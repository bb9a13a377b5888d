"""A chat loop of one's own that never overflows: `palaver.context` without the rest of Palaver.

python examples/compact_alone.py

The loop calls no provider: a function stands in for the model, so that it can be seen what a model
would be sent. Replace `answer` by a call of any client that takes messages in OpenAI's form.
"""

from typing import Any

from palaver.context import Window, count


def answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """What a model would say to these messages."""
    return {"role": "assistant", "content": f"I was sent {count(messages)} tokens. " * 5}


def main() -> None:
    window: Window[dict[str, Any]] = Window(budget_tokens=1_000)
    window.append({"role": "system", "content": "You keep the list of a library."})
    window.append({"role": "user", "content": "The code of the door is KX-4711. Remember it."})
    largest = 0
    for number in range(100):
        sent = window.messages()
        largest = max(largest, count(sent))
        window.append(answer(sent))
        title = f"Volume {number} of the collected letters stands on shelf S{number % 9}."
        window.append({"role": "user", "content": title})
    print(f"{len(window.originals())} messages, {window.compactions} compactions")
    print(f"the largest request had {largest} tokens")
    print("the first message is still there:", "KX-4711" in str(window.messages()))
    print("found again:", window.search("Volume 48")[0].messages[0]["content"])


if __name__ == "__main__":
    main()
