"""Key files, and the steps of a rotation."""

import base64
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import OperatorError
from totemd.seal import Key, KeyRing, new_key
from totemd.seal.keys import KEYS_MAX, SECRET_SIZE_MAX

secrets = st.binary(min_size=32, max_size=64).filter(lambda data: not data.startswith(b"totemd-keys"))
keys = secrets.map(Key.of)


def unique(found: list[Key]) -> list[Key]:
    return list({key.ident: key for key in found}.values())


@given(st.lists(keys, min_size=1, max_size=KEYS_MAX), st.integers(0, KEYS_MAX))
def test_a_key_file_says_what_the_ring_is(found: list[Key], accepted: int) -> None:
    sending, *others = unique(found)
    ring = KeyRing(sending, tuple(others[:accepted]), tuple(others[accepted:]))
    assert KeyRing.parse(ring.to_bytes()) == ring
    commented = ring.to_bytes().replace(b"sending", b"# which key is for what\n\n  sending").replace(b"\n", b"\r\n")
    assert KeyRing.parse(commented) == ring


@given(st.binary(min_size=32, max_size=SECRET_SIZE_MAX).filter(lambda data: not data.startswith(b"totemd-keys")))
def test_any_other_bytes_are_corosyncs_key(data: bytes) -> None:
    assert KeyRing.parse(data) == KeyRing(Key.of(data))


@given(st.binary(max_size=300), st.booleans())
def test_a_bad_key_file_is_an_operators_error_that_shows_nothing_of_it(data: bytes, text: bool) -> None:
    data = b"totemd-keys 1\n" + data if text else data
    try:
        ring = KeyRing.parse(data)
    except OperatorError as problem:
        said = str(problem)
    else:
        said = ""
        assert 1 <= len(ring.all()) <= KEYS_MAX
    for word in data.split():
        assert len(word) < 12 or word.decode("latin-1") not in said


GOOD = KeyRing(Key.of(bytes(32)), (Key.of(bytes(33)),)).to_bytes()
SENDING = GOOD.splitlines(keepends=True)[1]
NINE = b"".join(b"retired %s\n" % base64.b64encode(bytes(40 + number)) for number in range(9))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "32 to 4096 bytes, this file has 0"),
        (bytes(31), "keygen"),
        (bytes(SECRET_SIZE_MAX + 1), "this file has 4097"),
        (b"totemd-keys 1\n", "exactly one key is for sending, this file has 0"),
        (GOOD.replace(b"keys 1", b"keys 2"), "line 1: this form of a key file is another version's"),
        (GOOD.replace(b"accepted", b"sending"), "this file has 2"),
        (GOOD.replace(b"accepted", b"trusted"), "line 3: 'sending', 'accepted' or 'retired'"),
        (GOOD.replace(b"AAAA", b"A*AA"), "line 2: the key is no valid base64"),
        (b"totemd-keys 1\nsending AAAA\n", "line 2: a key has 32 to 4096 bytes, not 3"),
        (GOOD + SENDING.replace(b"sending", b"retired"), "line 4: this key stands in the file"),
        (b"totemd-keys 1\n" + b"#" * 65536, "larger than"),
        (b"totemd-keys 1\n" + NINE, "line 10: there are more than 8 keys"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_key_file_is_said(data: bytes, words: str) -> None:
    with pytest.raises(OperatorError) as caught:
        KeyRing.parse(data)
    assert words in str(caught.value)


def test_no_text_of_a_key_shows_its_secret() -> None:
    key = Key.of(b"a secret of thirty-two characters")
    ring = KeyRing(key, (key,), (key,))
    for text in (repr(key), str(key), repr(ring), f"{ring}"):
        assert "secret of" not in text
        assert key.ident.hex() in text or repr(key.ident) in text


def test_new_keys_differ() -> None:
    random = Random(1)
    made = [new_key(random.randbytes) for _ in range(50)]
    assert len({key.ident for key in made}) == len({key.secret for key in made}) == 50


STEPS: list[Callable[[KeyRing, Key], KeyRing]] = [
    KeyRing.accepting,
    KeyRing.sending_with,
    lambda ring, _: ring.settled(),
]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 12)), max_size=30))
def test_rotations_keep_each_key_once_and_not_too_many(
    steps: list[tuple[Callable[[KeyRing, Key], KeyRing], int]],
) -> None:
    pool = [Key.of(bytes(32 + number)) for number in range(13)]
    ring = KeyRing(pool[0])
    for step, number in steps:
        before, ring = ring, step(ring, pool[number])
        held = ring.all()
        assert len({key.ident for key in held}) == len(held) <= KEYS_MAX
        assert KeyRing.parse(ring.to_bytes()) == ring
        if step is KeyRing.accepting:
            assert ring.sending == before.sending
            assert pool[number] in (ring.sending, *ring.accepted)
        elif step is KeyRing.sending_with:
            assert ring.sending == pool[number]
            assert before.sending in (ring.sending, *ring.accepted)
        else:
            assert ring.sending == before.sending
            assert ring.accepted == ()
            assert set(before.accepted) <= set(ring.retired)
        for key in held:
            assert ring.find(key.ident) == key
