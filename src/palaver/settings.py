"""Every setting, frozen and grouped by concern. Nothing here reads a file or the environment."""

from typing import Literal, TypeAlias

import msgspec

from palaver.domain.access import KeyLimits

OnUnreachable: TypeAlias = Literal["fail", "queue", "offline"]
"""What becomes of a message when nobody who could answer can be reached."""


class Clocks(msgspec.Struct, frozen=True):
    """How long a provider may take, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    """From the request to the first content event; reasoning models think for long."""
    idle_s: float = 120.0
    """Between content events. Keep-alive pings do not count: a stalled provider sends them too."""
    turn_s: float = 600.0
    """One run of a turn, tools and waiting included. The clock starts anew behind a suspension, so
    a turn that asks a person twice may run three times as long; its steps are counted through."""


class TurnLimits(msgspec.Struct, frozen=True):
    """Bounds of one turn."""

    steps: int = 50
    """Model calls; a model that loops over its tools ends here."""
    parallel_tools: int = 8
    """Tools at the same time."""
    on_restart: Literal["interrupt", "resume", "leave"] = "interrupt"
    """What becomes of a turn whose process died, at the next start. `interrupt` ends it with valid
    history: whoever starts a program again may not want it to spend money, and run tools, on a
    question of yesterday. `resume` runs it on, for services; `leave` waits until somebody says
    something in its conversation, and interrupts it then."""
    resume_parallel: int = 8
    """Turns that are run on at the same time after a start."""
    drain_s: float = 10.0
    """Seconds that a running turn gets to end by itself when the program is asked to end (SIGTERM);
    containers are killed after 10 to 30."""


class RetrySettings(msgspec.Struct, frozen=True):
    """Attempts before the first token, per class of failure, and what follows a broken answer."""

    network_attempts: int = 5
    network_base_s: float = 1.0
    network_cap_s: float = 30.0
    rate_limit_attempts: int = 3
    rate_limit_base_s: float = 10.0
    rate_limit_factor: float = 3.0
    rate_limit_cap_s: float = 300.0
    patience_s: float = 5.0
    """The longest wait for one model where another one stands by."""
    resumes: int = 2
    """Times in a turn that an answer that broke in the middle is continued; 0: never."""


class BreakerSettings(msgspec.Struct, frozen=True):
    """When somebody who fails is left alone. Calls are counted, not attempts."""

    failures: int = 5
    """Failed calls within the window that open it."""
    share: float = 0.5
    """And at least this share of the window's calls: many calls have a few failures always."""
    window_s: float = 60.0
    open_s: float = 60.0
    """Until the first probe; after each failed probe `growth` times as long, at most
    `open_cap_s`."""
    growth: float = 2.0
    open_cap_s: float = 600.0
    probe_s: float = 150.0
    """After this time a probe that said nothing is taken for lost: longer than a first token may
    take."""


class BudgetSettings(msgspec.Struct, frozen=True):
    """How much may be repeated over all calls to one model."""

    tokens: float = 100.0
    """Nothing is repeated while half of them or fewer are left; a failed attempt takes one."""
    refill: float = 0.1
    """Tokens that a success gives back."""


class OutboxSettings(msgspec.Struct, frozen=True):
    """What becomes of a message when no model can be reached."""

    on_unreachable: OnUnreachable = "fail"
    """`fail`: its turn fails. `queue`: it is kept in the conversation's outbox and sent when a
    model answers again. `offline`: it is answered at once, by an earlier answer to the same request
    or by the offline responder. A service may not want the question of yesterday answered, nor an
    answer that no model gave: it asks for either."""
    automatic: bool = True
    """Whether what waits is sent by itself; False: only when somebody asks for it."""
    first_s: float = 5.0
    """Before the first new try; after each that reaches nobody twice as long, to `longest_s`."""
    longest_s: float = 600.0


class AnswerSettings(msgspec.Struct, frozen=True):
    """Which earlier answers may be given again when no model can be reached. What is kept is where
    they stand in the log, not their text, so that redacting or deleting them takes them away."""

    keep: int = 1_000
    """Answers of a tenant at most, the newest ones; 0: none. Each takes about 100 bytes."""
    age_s: float = 30 * 86_400.0
    """Older ones are not given again."""
    answer_bytes: int = 64 * 1024
    """Longer ones neither."""


class StreamSettings(msgspec.Struct, frozen=True):
    """Run logs and their readers."""

    flush_s: float = 0.05
    """How long deltas may wait before they are written; facts never wait."""
    keep_turns: int = 2
    """Run logs kept per conversation after their turns ended; older ones are pruned."""
    keep_sessions_s: float = 60.0
    """How long an ended turn stays in memory for late readers."""
    keep_sessions: int = 32
    """How many of them at most: a late reader comes a moment late, not many turns. One that comes
    later reads the run log."""
    owner_check_s: float = 1.0
    """How often a running turn looks whether another process has ended it. One that streams finds
    out with the next deltas that it writes."""


class ToolSettings(msgspec.Struct, frozen=True):
    """Defaults of tools."""

    timeout_s: float = 60.0
    output_chars: int = 30_000
    """What the model gets of one result; the rest is kept as a blob."""


class CompactionSettings(msgspec.Struct, frozen=True):
    """When a conversation's window is made smaller, and by whom. Shares are of the window."""

    automatic: bool = True
    """False: only when somebody asks for it; a conversation that is too long is then an error."""
    window: int | Literal["auto"] = 50_000
    """Tokens of a request at most, never more than the model takes; `auto`: as many as it takes.
    Long windows cost with every request, and models find less in them."""
    minimum: int = 10_000
    """Tokens below which nothing is made smaller while the model has room."""
    trigger: float = 0.85
    target: float = 0.60
    """What a compaction leaves: the distance to `trigger` is how long its result stays cached."""
    prepare: float = 0.70
    """From here on the summary is written in the background, before it is needed."""
    summaries: Literal["prepared", "inline", "off"] = "prepared"
    """`inline`: a turn waits for the summary, which suits programs that end with their answer;
    `off`: no model writes any."""
    summary_model: str = ""
    """`provider:model` that writes them; empty takes the conversation's own."""
    summary_tokens: int = 2_000
    """Of a summary at most, and never more than a quarter of what the window is to hold."""
    strategy: str = "auto"
    """The name of one, or `auto`: chosen by what the conversation is made of."""
    selection: Literal["either", "counts", "shares"] = "either"
    """How `auto` chooses: by the two counts that follow, by the two shares behind them, or by
    whichever of them tells."""
    tool_requests: int = 10
    """More than these, and what tools said is preserved."""
    topic_transitions: int = 5
    """More than these, and the summary goes by topic."""
    tool_share: float = 0.50
    """Of the tokens to be summarised, in calls and results."""
    closed_topics: int = 3
    """Topics that lie wholly in what is to be summarised."""
    min_gain: float = 0.10
    """A compaction that takes off less than this share is not accepted."""
    unsupported: float = 0.05
    """Share of a summary's identifiers that may be missing in what it was written from."""
    expected_requests: int = 10
    """Later requests over which breaking the provider's cache has to pay."""


class OpenAISettings(msgspec.Struct, frozen=True):
    """What is special about OpenAI's models."""

    background: bool = False
    """Responses are made in background mode, so that an answer that breaks is read on exactly where
    it broke. OpenAI then stores them, which is why nobody gets this unasked."""


class ServerSettings(msgspec.Struct, frozen=True):
    """Where `palaver serve` listens, to whom it talks, and the bounds of what it takes."""

    host: str = "127.0.0.1"
    """Any other than a loopback address needs keys or JWT (`access`): without, it is refused."""
    port: int = 8642
    allowed_hosts: tuple[str, ...] = ()
    """Names under which clients may call it, beside loopback ones and `host`; `*.example.org` is
    one name below. Others are refused: a page on the web could have its name lead here."""
    allowed_origins: tuple[str, ...] = ()
    """Pages (`https://app.example.org`) whose scripts may call it; its own may always."""
    forwarded_by: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For is believed."""
    body_bytes: int = 10 * 1024 * 1024
    """Of a request, uploads of files aside."""
    upload_bytes: int = 100 * 1024 * 1024
    file_types: tuple[str, ...] = ()
    """Media types of files that may be uploaded, such as `image/*`; none named: those that people
    attach (pictures, sound, text, PDF, office documents, bytes without a type)."""
    json_depth: int = 64
    header_bytes: int = 16 * 1024
    receive_s: float = 30.0
    """In which a request's body has to be there; for each 10 MiB of an upload."""
    heartbeat_s: float = 15.0
    """Between signs of life on a stream that has nothing to say."""
    send_s: float = 10.0
    """A reader that takes nothing for so long is let go of; it can come back to where it was."""
    streams: int = 2_000
    """Open streams of all callers."""
    streams_per_caller: int = 200
    sockets: int = 1_000
    """Open WebSockets of all callers."""
    sockets_per_caller: int = 50
    subscriptions: int = 64
    """Turns that one socket follows at a time."""
    frame_bytes: int = 1024 * 1024
    frames_per_s: int = 50
    """From one socket, over ten seconds."""
    ticket_s: float = 30.0
    """How long a browser's ticket for its socket is good; it is good once."""
    drain_s: float = 20.0
    """Seconds that running turns get when the server is asked to end; what has not ended then is
    left to the next start."""
    on_restart: Literal["resume", "interrupt"] = "resume"
    """`turn.on_restart` of a server: its clients come back for the rest of their answers."""
    tenants: int = 1_000
    """Tenants in memory; idle ones beyond that are let go of."""
    metrics_token: str = ""
    """Opens `/metrics`, and nothing else, beside keys of the tenant `local` that may `admin`."""


Signature: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""Of tokens. None that is made with a shared secret: for such a one a public key would do."""


class JwtSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose tokens are taken beside keys, and how they are read."""

    issuer: str
    audience: str
    """A token must name both, exactly."""
    jwks_url: str = ""
    """Where the issuer's public keys are, by https (http only on this machine); or"""
    public_key: str = ""
    """a file with one of them, as PEM. Just one of the two."""
    algorithms: tuple[Signature, ...] = ("RS256", "ES256", "EdDSA")
    tenant_claim: str = "sub"
    """What names the tenant; with `sub` everybody is a tenant of their own."""
    scopes_claim: str = "scope"
    """Words, or a list; those that are permissions count, with `palaver:` before them or not."""
    leeway_s: float = 30.0
    """By which clocks may differ."""


class AccessSettings(msgspec.Struct, frozen=True):
    """Who may use the server, and how much."""

    limits: KeyLimits = KeyLimits()
    """Of everybody whose key says nothing else."""
    remember_s: float = 5.0
    """A key that was good is not looked up again for so long (5 at most): one that another process
    revokes opens the server until then."""
    jwt: JwtSettings | None = None


class Settings(msgspec.Struct, frozen=True):
    """All of them."""

    clocks: Clocks = Clocks()
    turn: TurnLimits = TurnLimits()
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    budget: BudgetSettings = BudgetSettings()
    outbox: OutboxSettings = OutboxSettings()
    answers: AnswerSettings = AnswerSettings()
    stream: StreamSettings = StreamSettings()
    tools: ToolSettings = ToolSettings()
    context: CompactionSettings = CompactionSettings()
    openai: OpenAISettings = OpenAISettings()
    server: ServerSettings = ServerSettings()
    access: AccessSettings = AccessSettings()
    titles: Literal["extractive", "model", "off"] = "extractive"
    """Who names a conversation after its first answer, when nobody has: its first sentence, the
    conversation's model (one small request), or nobody."""
    snapshot_every: int = 200
    """Facts between snapshots: opening folds at most this many."""
    message_bytes: int = 10 * 1024 * 1024
    """The largest message accepted."""
    open_conversations: int = 256
    """Idle conversations kept in memory; those in use stay beyond that. Reading one again takes
    1 ms, and 60 ms with 10,000 messages."""
    open_bytes: int = 64 * 1024 * 1024
    """Of those, all in all: as much as 256 of 250 KB, which is 300 messages each."""
