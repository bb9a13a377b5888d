"""The input of a response as messages of ours."""

from collections.abc import Sequence

from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Refusal, Text, ToolCall
from palaver.server.v1.errors import invalid
from palaver.server.v1.incoming import (
    Attach,
    Gathering,
    Said,
    document,
    picture,
    stored,
    text_block,
)
from palaver.server.v1.responses_shapes import MAX_ITEMS, ResponseContent, ResponseInput


async def read_items(
    given: str | Sequence[ResponseInput],
    attach: Attach,
    *,
    instructions: str | None = None,
    goes_on: bool = False,
    place: str = "input",
) -> Said:
    """A conversation from items. `goes_on`: it may begin with results of calls that are here.
    Thinking that is sent back is passed over: what is kept here holds the original.

    Raises InvalidInput with the place of what is wrong.
    """
    gathering = await _gathered(given, attach, instructions, goes_on, place)
    return gathering.said()


async def read_history(
    given: Sequence[ResponseInput], attach: Attach, *, goes_on: bool, place: str
) -> Said:
    """The same of items that nobody is to answer."""
    gathering = await _gathered(given, attach, None, goes_on, place)
    return gathering.history()


async def _gathered(
    given: str | Sequence[ResponseInput],
    attach: Attach,
    instructions: str | None,
    goes_on: bool,
    place: str,
) -> Gathering:
    gathering = Gathering(goes_on=goes_on, place=place)
    if instructions:
        gathering.system(stored(instructions))
    if isinstance(given, str):
        gathering.user(text_block(given), place)
        return gathering
    if len(given) > MAX_ITEMS:
        raise invalid(place, f"at most {MAX_ITEMS:,} items are accepted")
    for number, item in enumerate(given):
        await _take(gathering, item, f"{place}[{number}]", attach)
    return gathering


async def _take(gathering: Gathering, item: ResponseInput, place: str, attach: Attach) -> None:
    match item.type:
        case "message":
            await _message(gathering, item, place, attach)
        case "function_call":
            if not item.call_id or not item.name:
                raise invalid(place, "a call needs a call_id and a name")
            call = ToolCall(
                CallId(stored(item.call_id)), stored(item.name), stored(item.arguments or "{}")
            )
            gathering.assistant((call,), place)
        case "function_call_output":
            where = f"{place}.output"
            gathering.result(item.call_id or "", await _blocks(item.output, where, attach), place)
        case "reasoning":
            pass


async def _message(gathering: Gathering, item: ResponseInput, place: str, attach: Attach) -> None:
    blocks = await _blocks(item.content, f"{place}.content", attach)
    match item.role:
        case "system" | "developer":
            gathering.system("\n\n".join(b.text for b in blocks if isinstance(b, Text)))
        case "user":
            gathering.user(blocks, place)
        case "assistant":
            gathering.assistant(tuple(b for b in blocks if isinstance(b, Text | Refusal)), place)
        case None:
            raise invalid(f"{place}.role", "a message needs a role")


async def _blocks(
    content: str | list[ResponseContent] | None, place: str, attach: Attach
) -> tuple[Block, ...]:
    if content is None or isinstance(content, str):
        return text_block(content or "")
    blocks: list[Block] = []
    for number, part in enumerate(content):
        where = f"{place}[{number}]"
        match part.type:
            case "input_text" | "output_text" | "text":
                blocks += text_block(part.text)
            case "refusal":
                blocks.append(Refusal(stored(part.refusal)))
            case "input_image":
                if part.image_url is None:
                    raise invalid(where, "only pictures in `image_url` are accepted, not by id")
                blocks.append(await picture(part.image_url, f"{where}.image_url", attach))
            case "input_file":
                blocks.append(await document(part.file_data, part.filename, where, attach))
    return tuple(blocks)
