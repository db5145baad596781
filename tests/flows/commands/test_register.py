"""The command `register`: what it tells, and that nothing usable is an error."""

from artifacts.store import Store
from tests.flows.command_line import failed
from tests.video_files import write_bad_files, write_sound, write_video


def registering(actionlore, videos, *options):
    return actionlore("register", "--dataset", "folder", "--videos", videos, *options)


def test_what_is_left_out_is_told_every_time(actionlore, tmp_path):
    write_video(tmp_path / "videos/walk/a.mp4", 5)
    (tmp_path / "videos/walk/notes.txt").touch()
    (tmp_path / "videos/.Trash-0/b").mkdir(parents=True)
    for state in ("made", "found"):
        done = registering(actionlore, "videos")
        assert done.exit_code == 0, done.stderr
        assert "folders named .Trash-0 (1), files named *.txt (1)" in done.stdout
        assert f"{state} videos/folder@" in " ".join(done.stdout.split())
    (tmp_path / "videos/walk/more.txt").touch()
    assert "files named *.txt (2)" in registering(actionlore, "videos").stdout


def test_registering_nothing_usable_is_an_error_with_the_first_reasons(actionlore, tmp_path):
    lines = ["file,label", *(f"{name}.mp4,walk" for name in "abcde")]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "videos").mkdir()
    write_sound(tmp_path / "videos/sound.wav").rename(tmp_path / "videos/b.mp4")
    for _ in range(2):  # made, then found
        done = registering(actionlore, "videos", "--labels", "labels.csv")
        words = ("videos/folder@", "4 missing, 1 unreadable", "a: no such file", "--videos")
        failed(done, *words, "b: no video stream", "c: no such file")
        assert "e: no such file" not in done.stderr
    assert Store(tmp_path / "store").published("videos"), "features do not need the files"
    write_video(tmp_path / "videos/c.mp4", 5)
    assert registering(actionlore, "videos", "--labels", "labels.csv").exit_code == 0


def test_every_bad_file_alone_is_an_error(actionlore, tmp_path):
    write_bad_files(tmp_path / "bad")
    for name in ("dangling", "zero-bytes", "text", "sound"):
        (tmp_path / name / "walk").mkdir(parents=True)
        (tmp_path / f"bad/{name}.mp4").rename(tmp_path / name / "walk/1.mp4")
        failed(registering(actionlore, name), "none of its videos", "walk/1: ")


def test_how_a_list_was_read_is_told_and_kept(actionlore, tmp_path):
    write_video(tmp_path / "videos/a.mp4", 5)
    (tmp_path / "val.txt").write_text("a.mp4,900,7\n")
    given = ("--dataset", "lists", "--videos", "videos", "--list", "val=val.txt")
    done = actionlore("register", *given, "--classes", "kinetics400")
    assert done.exit_code == 0, done.stderr
    form = "path num_frames label, separated by commas"
    assert f"val.txt: read as {form}" in done.stdout
    videos = Store(tmp_path / "store").get("videos/lists")
    assert videos.manifest.report["list_forms"] == {"val.txt": form}
    assert videos.read()["class_ids"].to_pylist() == [[7]]
