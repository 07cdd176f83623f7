"""What a ports file declares, and the sentences of a bad one."""

import pytest

from haloquant.circuits.ports import MacPorts
from haloquant.circuits.ports_file import parse_ports
from haloquant.errors import NetlistError


def test_ports_file():
    ports = parse_ports('weight = "w"\npartial = ""\nclock = "ck"\nresult_bits = 16\n[tied]\nenable = 1\n')
    assert ports == MacPorts(weight="w", partial=None, clock="ck", result_bits=16, tied=(("enable", 1),))


def test_top_module_and_parameters():
    ports = parse_ports('\ufefftop = "pe"\n[parameters]\nW = 8\n')
    assert (ports.top, ports.parameters) == ("pe", (("W", 8),))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("weight_bits = 0", r"weight_bits must be 1 to 64, not 0"),
        ("wieght = 'w'", r"the ports file must be TOML with the keys of MacPorts, not what was given: .*wieght"),
        ("weight = ", r"the ports file must be TOML with the keys of MacPorts"),
        ("weight_bits = 17", r"weight_bits must hold numbers of at most 16 bits, not of 17"),
        ("activation_bits = 40", r"activation_bits must hold numbers of at most 16 bits, not of 40"),
        ("latency = -1", r"latency must be 0 to 64 clock edges, not -1"),
        ("latency = 1", r"a latency of 1 clock edges must come with a clock, but clock is not declared"),
        ("encoding = 'multiple_shift'", r"the ports file must be TOML .* Invalid enum value 'multiple_shift'"),
        (f"tied = {{a = {1 << 64}}}", r"the value of a must fit 64 bits, not be 18446744073709551616"),
        ("weight_format = 'fp8'", r"the ports file must be TOML .* Invalid enum value 'fp8'"),
        ("weight_format = 'e4m3'\nweight_bits = 4", r"weight_bits must be 8 with weight_format = e4m3, not 4"),
        ("activation_format = 'e5m2'\nactivation_bits = 9", r"activation_bits must be 8 with activation_format = e5m2"),
        ("weight_format = 'e4m3'\nencoding = 'sign_magnitude'", r"without encoding = sign_magnitude"),
        ("activation_format = 'e4m3'\nunsigned_activation = true", r"must come without unsigned_activation: a float"),
        ("result_format = 'float32'", r"result_bits must be 32 with result_format = float32, not 24"),
        ("result_format = 'float16'\nresult_bits = 16\ncarry_save = true", r"not two words in carry-save form"),
        ("flushes = true", r"flushes must come with a result_format of a float"),
        ("encoding = 'booth_digits'", r"weight_bits must be a multiple of 3 for stored Booth digits, not 8"),
    ],
)
def test_bad_ports_files(text: str, sentence: str):
    with pytest.raises(NetlistError, match=sentence):
        parse_ports(text)


def test_carry_save_words_are_halves():
    assert parse_ports("carry_save = true\nresult_bits = 48").sum_bits == 24
    with pytest.raises(NetlistError, match=r"result_bits must be even for two words in carry-save form, not 47"):
        parse_ports("carry_save = true\nresult_bits = 47")
