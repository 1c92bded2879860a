"""Atomic files: what is wrong is said in one line, with its place; what RecBole reads well still works."""

import pytest
from atomic_data import (
    HEADER,
    ITEMS,
    LOAD,
    ROWS,
    USERS,
    check_one_line,
    interactions,
    prepared,
    with_value,
    write_files,
)

from recbole_cel.inputs.columns import MISSING

INTER = interactions()
LINES = INTER.split("\n")
RATINGS_ONLY = {"load_col": {"inter": LOAD["inter"]}}
IN_TIME = {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": None, "mode": "labeled"}}


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])


def line_replaced(number, text):
    return "\n".join([*LINES[: number - 1], text, *LINES[number:]])


TEXT = {
    "utf-8 mark": (b"\xef\xbb\xbf" + INTER.encode(), ["line 1", "byte order mark", "utf-8-sig"]),
    "utf-16": (INTER.encode("utf-16"), ["line 1", "0xff", "utf-16"]),
    "latin-1": (with_value(52, 0, "é").encode("latin-1"), ["line 52", "0xe9", "latin-1"]),
    "cut character": (INTER.encode() + b"u1\ti1\t3\t5\xc3", ["line 122", "0xc3"]),
    "NUL at the start": (b"\0" + INTER.encode(), ["line 1", "NUL"]),
    "NUL within": (with_value(9, 1, "i\0").encode(), ["line 9", "NUL"]),
    "NUL at the end": (INTER.encode() + b"\0", ["line 122", "NUL"]),
    "empty": (b"", ["is empty", "name:type"]),
    "blank": (b"\n\n", ["line 1", "blank"]),
    "header only": (HEADER.encode(), ["no rows"]),
    "header and blank lines": (HEADER.encode() + b"\n\n  \n", ["no rows"]),
    "web page": (b"<html>\n<body>404</body></html>\n", ["line 1", "name:type"]),
}


@pytest.mark.parametrize("case", TEXT)
@pytest.mark.parametrize("kind", ["inter", "user", "item"])
def test_what_is_no_text(case, kind, tmp_path):
    content, words = TEXT[case]
    header = {"inter": HEADER, "user": USERS.split("\n")[0], "item": ITEMS.split("\n")[0]}[kind]
    content = content.replace(HEADER.encode(), header.encode()) if "no rows" in words else content
    check_one_line([f"small.{kind}", *words], write_files(tmp_path, **{kind: content}))


HEADERS = {
    "none": ("\n".join(LINES[1:]), ["line 1", "u0"]),
    "no types": (line_replaced(1, "user_id\titem_id\trating\ttimestamp"), ["line 1", "name:type"]),
    "one type missing": (line_replaced(1, HEADER.replace("g:float", "g")), ["line 1, column 3", "'rating'"]),
    "unknown type": (
        line_replaced(1, HEADER.replace("g:float", "g:int")),
        ["column rating", "'int'", "mean float"],
    ),
    "upper case": (line_replaced(1, HEADER.replace("g:float", "g:Float")), ["column rating", "mean float"]),
    "space": (line_replaced(1, HEADER.replace("g:float", "g: float")), ["column rating", "mean float"]),
    "space before": (line_replaced(1, HEADER.replace("rating", " rating")), ["line 1, column 3", "space"]),
    "space after": (line_replaced(1, HEADER.replace("g:float", "g :float")), ["line 1, column 3", "space"]),
    "two colons": (line_replaced(1, HEADER.replace("g:float", "g:x:float")), ["line 1, column 3"]),
    "no name": (line_replaced(1, HEADER.replace("rating", "")), ["line 1, column 3"]),
    "quoted": (line_replaced(1, HEADER.replace("rating:float", '"rating:float"')), ["column 3", "quoted"]),
    "commas": (INTER.replace("\t", ","), ["line 1, column 1", "field_separator"]),
    "tab at the end": (line_replaced(1, HEADER + "\t"), ["line 1, column 5", "separator too many"]),
    "twice": (INTER.replace("timestamp:", "rating:"), ["line 1, column rating", "twice"]),
    "twice of other types": (INTER.replace("timestamp:float", "rating:token"), ["column rating", "twice"]),
    "no user": (INTER.replace("user_id", "userid"), ["user_id", "did you mean userid?"]),
    "no item": (INTER.replace("item_id", "movie"), ["item_id", "movie"]),
    "no rating": (INTER.replace("rating", "stars"), ["rating", "stars"]),
    "id as float": (INTER.replace("user_id:token", "user_id:float"), ["column user_id", "USER_ID_FIELD", "token"]),
    "rating as token": (INTER.replace("rating:float", "rating:token"), ["column rating", "threshold", "float"]),
    "rating as list": (INTER.replace("rating:float", "rating:float_seq"), ["column rating", "threshold"]),
}


@pytest.mark.parametrize("case", HEADERS)
def test_what_is_wrong_in_the_header(case, tmp_path):
    content, words = HEADERS[case]
    check_one_line(words, write_files(tmp_path, inter=content))


ROWS_WRONG = {
    "too short": (line_replaced(6, "u4\ti11\t1"), ["line 6", "has 3 columns", "4", "timestamp is missing"]),
    "too long": (line_replaced(6, "u4\ti11\t1\t5\tx"), ["line 6", "has 5 columns", "'x'"]),
    "first too long": (line_replaced(2, "u4\ti11\t1\t5\tx"), ["line 2", "has 5 columns"]),
    "all too long": ("\n".join([HEADER, *(line + "\t" for line in LINES[1:-1])]), ["line 2", "has 5 columns"]),
    "cut": ("\n".join(LINES[:60])[:-7], ["line 60", "columns"]),
    "after a blank line": ("\n".join([*LINES[:3], "", "u1"]), ["line 5", "has 1 columns"]),
    "quote not closed": (line_replaced(6, '"u4\ti11\t1\t5'), ["line 6", "quote"]),
    "quote closed rows later": (line_replaced(6, '"u4\ti11\t1\t5').replace("u9\t", 'u9"\t'), ["line 6", "quote"]),
    "text after a quote": (line_replaced(6, '"u4"x\ti11\t1\t5'), ["line 6", "quote"]),
    "columns within quotes": (line_replaced(6, '"u4\ti11"\t1\t5'), ["line 6", "has 3 columns"]),
    "long value": (line_replaced(6, f"{'u' * 200_000}\ti11\t1\t5"), ["line 6", "more than 131072"]),
    "no id": (with_value(7, 0, ""), ["line 7, column user_id", "missing"]),
    **{f"id {text}": (with_value(7, 1, text), ["line 7, column item_id", text]) for text in ("NA", "null", "nan")},
    "padding": (with_value(7, 1, "[PAD]"), ["line 7, column item_id", "[PAD]"]),
    **{
        f"rating {text}": (with_value(7, 2, text), ["line 7, column rating", text, "no number"])
        for text in ("abc", "3,5", "1 000", "-", "0x1", "++1", "?", "  ")
    },
    **{
        f"rating {text}": (with_value(7, 2, text), ["line 7, column rating", text, "finite"])
        for text in ("inf", "-Infinity", "1e400", "1e39")
    },
    "truth among numbers": (with_value(7, 2, "True"), ["line 7, column rating", "True"]),
    **{
        f"hole {text}": (with_value(7, 2, text), ["line 7, column rating", "1 of 120"])
        for text in ("", "NA", "NAN")
    },
    "all holes": (interactions([(u, i, "", t) for u, i, _, t in ROWS]), ["column rating", "120 of 120"]),
    "text as time": (with_value(9, 3, "2020-01-01"), ["line 9, column timestamp", "'2020-01-01'"]),
}


@pytest.mark.parametrize("case", ROWS_WRONG)
def test_what_is_wrong_in_a_row(case, tmp_path):
    content, words = ROWS_WRONG[case]
    check_one_line(words, write_files(tmp_path, inter=content))


SIDE = {
    "text as age": ({"user": USERS.replace("25", "old")}, ["small.user, line 7, column age", "'old'"]),
    "infinite age": ({"user": USERS.replace("25", "inf")}, ["line 7, column age"]),
    "no age at all": ({"user": USERS.replace("\t2", "\t").replace("\t3", "\t")}, []),
    "text in a list": ({"item": ITEMS.replace("0.3 1", "0.3 x")}, ["line 5, column vector", "'x'"]),
    "hole in a list": ({"item": ITEMS.replace("0.3 1", "0.3 nan")}, ["line 5, column vector", "'nan'"]),
    "comma in a list": ({"item": ITEMS.replace("0.3 1", "0,3 1")}, ["line 5, column vector", "point"]),
    "list as float": ({"item": ITEMS.replace("float_seq", "float")}, ["line 2, column vector"]),
    "no user id": ({"user": USERS.replace("user_id", "user")}, ["user_id", "did you mean user?"]),
    "empty item id": ({"item": ITEMS.replace("i3\t", "\t")}, ["small.item, line 5, column item_id"]),
    "no such users": ({"user": USERS.replace("\nu", "\nx")}, ["no rows left"]),
    "no file": ({"user": None}, ["load_col", ".user", "no "]),
    "feature not there": ({"user": USERS.replace("age", "years")}, ["load_col", "age", "years"]),
}


@pytest.mark.parametrize("case", SIDE)
def test_what_is_wrong_in_side_features(case, tmp_path):
    files, words = SIDE[case]
    if case == "no age at all":
        files = {"user": "user_id:token\tage:float\tgender:token\n" + "".join(f"u{n}\t\tM\n" for n in range(12))}
        words = ["line 2, column age", "all values are missing"]
    check_one_line(words, write_files(tmp_path, **files))


OPTIONS = {
    "threshold of no column": ({"threshold": {"stars": 3}}, ["threshold", "stars", "rating"]),
    "two thresholds": ({"threshold": {"rating": 3, "timestamp": 5}}, ["threshold"]),
    "threshold of text": ({"threshold": {"rating": "three"}}, ["threshold", "number", "'three'"]),
    "threshold a number": ({"threshold": 3}, ["threshold"]),
    "no label": ({"threshold": None}, ["LABEL_FIELD", "label", "threshold"]),
    "rating not loaded": ({"load_col": {"inter": ["user_id", "item_id"]}}, ["load_col", "rating"]),
    "no ids loaded": ({"load_col": {"inter": ["rating"]}}, ["load_col", "user_id"]),
    "no interactions loaded": ({"load_col": {"user": ["user_id"]}}, ["load_col", "inter"]),
    "wrong name": ({"load_col": {"inter": [*LOAD["inter"], "ratings"]}}, ["ratings", "mean rating?"]),
    "name for a list": ({"load_col": {"inter": "user_id"}}, ["load_col", "columns of each file"]),
    "both ways": ({"unload_col": {"inter": ["timestamp"]}}, ["unload_col", "load_col"]),
    "other user field": ({"USER_ID_FIELD": "uid"}, ["USER_ID_FIELD", "uid"]),
    "no user field": ({"USER_ID_FIELD": None}, ["USER_ID_FIELD", "name of a column"]),
    "no time": ({**IN_TIME, "load_col": {"inter": LOAD["inter"][:3]}}, ["load_col", "timestamp", "TO"]),
    "no time field": ({**IN_TIME, "TIME_FIELD": None}, ["TIME_FIELD", "TO"]),
    "separator": ({"field_separator": ","}, ["line 1"]),
    "pattern as separator": ({"field_separator": "||"}, ["field_separator"]),
    "no separator": ({"field_separator": ""}, ["field_separator"]),
    "no list separator": ({"seq_separator": ""}, ["seq_separator"]),
    "same separators": ({"seq_separator": "\t"}, ["seq_separator", "field_separator"]),
    "encoding": ({"encoding": "no-such"}, ["encoding", "'no-such'"]),
    "no text encoding": ({"encoding": "base64"}, ["encoding"]),
    "suffix": ({"additional_feat_suffix": ["net"]}, ["small.net"]),
    "numbers of no column": ({"numerical_features": ["nope"]}, ["numerical_features names nope", "rating"]),
    "interval of no column": ({"val_interval": {"ratng": "[4,5]"}}, ["val_interval", "mean rating?"]),
    "scale of no column": ({"normalize_field": ["zzz"]}, ["normalize_field names zzz", "age"]),
    "alias of no column": ({"alias_of_user_id": ["zzz"]}, ["alias_of_user_id names zzz"]),
    "weights of no column": ({"preload_weight": {"user_id": "stars"}}, ["preload_weight names stars"]),
    "intervals of no column": (
        {"discretization": {"aeg": {"method": "ED", "bucket": 3}}},
        ["discretization", "mean age?"],
    ),
    "interval": ({"val_interval": {"rating": "junk"}}, ["val_interval", "'junk'"]),
    "nothing left": ({"user_inter_num_interval": "[1000,inf)"}, ["no rows left"]),
    "shares": ({"eval_args": {**IN_TIME["eval_args"], "split": {"RS": [0.8, 0.2]}}}, ["split", "[0.8,0.1,0.1]"]),
    "no share": ({"eval_args": {**IN_TIME["eval_args"], "split": {"RS": [0, 0.5, 0.5]}}}, ["training"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_what_the_options_want_and_the_files_lack(case, tmp_path):
    options, words = OPTIONS[case]
    check_one_line(words, write_files(tmp_path), **options)


def test_times_must_be_there_where_they_count(tmp_path):
    write_files(tmp_path, inter=with_value(7, 3, ""))
    check_one_line(["line 7, column timestamp", "1 of 120"], tmp_path, **IN_TIME)
    assert prepared(tmp_path)[0].inter_num == 120


def test_missing_numbers_of_features_are_counted(tmp_path, caplog):
    write_files(tmp_path, user=USERS.replace("25", "").replace("27", "NA"))
    prepared(tmp_path)
    assert [record for record in caplog.messages if "small.user, column age: 2 of 12" in record]


@pytest.mark.parametrize("also", [{}, {"normalize_all": True}, {"normalize_field": ["age"]}])
def test_numbers_that_are_large_for_a_model_are_pointed_out(also, tmp_path, caplog):
    write_files(tmp_path, user=USERS.replace("25", "1998"))
    prepared(tmp_path, numerical_features=["age"], **also)
    found = [message for message in caplog.messages if "small.user, column age: numbers up to 1998" in message]
    assert bool(found) == (not also) and all("--normalize_field=['age']" in message for message in found)


def test_rows_of_ids_that_have_one_already_are_counted(tmp_path, caplog):
    write_files(tmp_path, user=USERS.rstrip("\n") + "\nu3\t99\tM\nu4\t98\tM\n")
    assert prepared(tmp_path)[0].inter_num == 120
    (line,) = [message for message in caplog.messages if "have one already" in message]
    assert "small.user, column user_id: 2 rows" in line and "in line 14" in line


def test_interactions_that_are_left_out_are_counted(tmp_path, caplog):
    prepared(write_files(tmp_path))
    prepared(tmp_path, "SASRec", threshold=None, train_neg_sample_args=None)
    assert not [message for message in caplog.messages if "left out" in message]
    write_files(tmp_path, user=USERS.replace("u3\t", "x\t"))
    assert prepared(tmp_path)[0].inter_num == 110
    assert [message for message in caplog.messages if message.startswith("10 of 120 interactions are left out")]


def test_files_that_are_not_loaded_are_not_read(tmp_path):
    write_files(tmp_path, user="nonsense", item=b"\xff\0")
    assert prepared(tmp_path, **RATINGS_ONLY)[0].inter_num == 120


TOLERATED = {
    "as it is": (INTER, {}),
    "utf-16": (
        INTER.encode("utf-16"),
        {
            "encoding": "utf-16",
        },
    ),
    "utf-8-sig": (b"\xef\xbb\xbf" + INTER.encode(), {"encoding": "utf-8-sig"}),
    "latin-1": (
        with_value(7, 2, "1").replace("u5\t", "\xe9\t").encode("latin-1"),
        {"encoding": "latin-1", **RATINGS_ONLY},
    ),
    "carriage returns": (INTER.replace("\n", "\r\n"), {}),
    "no newline at the end": (INTER.rstrip("\n"), {}),
    "blank lines": (INTER.replace("\nu3", "\n\n  \nu3") + "\n\n", {}),
    "quotes within": (INTER.replace("u3\t", 'u"3"\t'), RATINGS_ONLY),
    "quoted": (INTER.replace("u3\t", '"u3"\t').replace("u4\t", '"u4"\t'), {}),
    "quoted tab": (INTER.replace("u3\t", '"u\t3"\t'), RATINGS_ONLY),
    "quoted newline": (INTER.replace("u3\t", '"u\n3"\t'), RATINGS_ONLY),
    "floats": (INTER.replace("\t1\t", "\t1.0e0\t").replace("\t3\t", "\t +3 \t"), {}),
    "longer separator": (INTER.replace("\t", "::"), {"field_separator": "::"}),
    "all columns": (INTER, {"load_col": None}),
    "feature not loaded": (INTER.replace("timestamp:float", "timestamp:token"), {}),
}


@pytest.mark.parametrize("case", TOLERATED)
def test_what_recbole_reads_well_still_works(case, tmp_path):
    content, options = TOLERATED[case]
    if case == "all columns":
        options = {"load_col": {"inter": "*"}}
    alone = {"user": None, "item": None} if options.keys() & {"encoding", "field_separator"} else {}
    options = {**options, **RATINGS_ONLY} if alone else options
    data, *parts = prepared(write_files(tmp_path, inter=content, **alone), **options)
    assert (data.inter_num, data.user_num, data.item_num) == (120, 13, 18)
    assert [len(part._dataset) for part in parts] == [96, 12, 12]


def test_another_encoding_than_the_file_has(tmp_path):
    write_files(tmp_path)
    for encoding in ("utf-16", "utf-32", "ascii"):
        if encoding == "ascii":
            write_files(tmp_path, inter=with_value(7, 0, "é"))
        check_one_line([encoding], tmp_path, encoding=encoding)


def test_many_rows_over_several_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_cel.inputs.rows.BLOCK", 50)
    monkeypatch.setattr("recbole_cel.inputs.text.BLOCK", 7)
    assert prepared(write_files(tmp_path, inter=INTER.replace("u3\t", '"u3"\t')))[0].inter_num == 120
    check_one_line(["line 101, column rating"], write_files(tmp_path, inter=with_value(101, 2, "x")))
    check_one_line(["line 101"], write_files(tmp_path, inter=with_value(101, 0, "é").encode("latin-1")))


def test_missing_values_are_those_of_pandas():
    import io

    import pandas

    for text in [*MISSING, "NAN", "none", "-", " ", "Null", "0"]:
        read = pandas.read_csv(io.StringIO(f"a\tb\n{text}\t1\n"), sep="\t", dtype=str, engine="python")
        assert read["a"].isna().item() == (text in MISSING)
