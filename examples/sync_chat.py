"""A chat in a loop, without `async`. An empty line ends it.

python examples/sync_chat.py chat.db
"""

import sys

from palaver import TextDelta, sync


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else ":memory:"
    with sync.open(path, builtin_tools=True) as manager:
        conversation = manager.create(title="A plain chat")
        for line in sys.stdin:
            if not line.strip():
                break
            for event in conversation.stream(line.strip()):
                if isinstance(event, TextDelta):
                    print(event.text, end="", flush=True)
            print()


if __name__ == "__main__":
    main()
