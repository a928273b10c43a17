import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from segtricks.data import films
from segtricks.data.films import Film, in_order_of_numbers, is_film, unpack_film, write_film
from segtricks.errors import UserError

av = pytest.importorskip("av", reason='films need PyAV: pip install "segtricks[video]"')

NTSC = Fraction(30000, 1001)


@pytest.fixture
def make(tmp_path):
    """Write a film of a bright square that moves to the right, a pixel a frame."""

    def make(name="film.mp4", frames=8, size=(64, 48)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=NTSC, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for number in range(frames):
                picture = np.full((size[1], size[0], 3), 40, np.uint8)
                picture[10:20, 5 + number : 20 + number] = 240
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return tmp_path / name

    return make


def bright(path):
    """Half-open x0, y0, x1, y1 around what is bright."""
    rows, columns = np.nonzero(np.asarray(Image.open(path).convert("L")) > 140)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_frames_are_written_in_order_and_once(make, tmp_path):
    film = make()
    assert unpack_film(film, tmp_path / "frames") == Film(NTSC, 8, 8)
    files = sorted((tmp_path / "frames").glob("*.jpg"))
    assert [file.name for file in files] == [f"00000{number}.jpg" for number in range(1, 9)]
    for number, file in enumerate(files):
        assert np.abs(np.subtract(bright(file), (5 + number, 10, 20 + number, 20))).max() <= 1
    before = [file.stat().st_mtime_ns for file in files]
    assert unpack_film(film, tmp_path / "frames") == Film(NTSC, 8, 8)
    assert [file.stat().st_mtime_ns for file in files] == before
    make(frames=3)
    with pytest.raises(UserError, match="frames of another film"):
        unpack_film(film, tmp_path / "frames")
    assert len(list((tmp_path / "frames").glob("*.jpg"))) == 8
    assert unpack_film(film, tmp_path / "frames", overwrite=True).frames == 3
    assert len(list((tmp_path / "frames").glob("*.jpg"))) == 3


def test_frames_that_were_deleted_are_decoded_again_and_the_others_stay(make, tmp_path):
    film = make()
    unpack_film(film, tmp_path / "frames")
    files = sorted((tmp_path / "frames").glob("*.jpg"))
    contents = [file.read_bytes() for file in files]
    files[0].write_bytes(b"cropped by hand")
    for file in files[3:6]:
        file.unlink()
    assert unpack_film(film, tmp_path / "frames") == Film(NTSC, 8, 8)
    assert [file.read_bytes() for file in files] == [b"cropped by hand", *contents[1:]]


@pytest.mark.parametrize(
    ("matrix", "size", "box"),
    [
        ((0, 1, 0, -1, 0, 0), (48, 64), (28, 5, 38, 20)),  # a quarter clockwise, as phones write it
        ((-1, 0, 0, 0, -1, 0), (64, 48), (44, 28, 59, 38)),
        ((0, -1, 0, 1, 0, 0), (48, 64), (10, 44, 20, 59)),
    ],
)
def test_frames_of_a_turned_film_are_upright(make, tmp_path, matrix, size, box):
    film = make(frames=1)
    content = bytearray(film.read_bytes())
    place = content.index(b"tkhd") + 44  # the display matrix of the track
    content[place : place + 36] = struct.pack(">9i", *(value << 16 for value in matrix), 0, 0, 1 << 30)
    film.write_bytes(content)
    unpack_film(film, tmp_path / "frames")
    picture = tmp_path / "frames/000001.jpg"
    assert Image.open(picture).size == size
    assert np.abs(np.subtract(bright(picture), box)).max() <= 1


def test_what_is_no_film_is_refused_and_leaves_no_film_behind(make, tmp_path):
    whole = make().read_bytes()
    for name, content in (("cut.mp4", whole[: len(whole) // 2]), ("text.mp4", b"no film"), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} is not a film, or is damaged"):
            unpack_film(tmp_path / name, tmp_path / "frames")
    assert not list((tmp_path / "frames").glob("*.j*"))
    with pytest.raises(UserError, match="No film"):
        unpack_film(tmp_path / "none.mp4", tmp_path / "frames")


def test_films_without_frames_are_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="holds no frame that can be decoded"):
        unpack_film(tmp_path / "sound.mkv", tmp_path / "frames")


def test_of_a_damaged_film_the_frames_before_the_damage_are_used(make, tmp_path):
    film = make("film.mkv", frames=40)
    content = bytearray(film.read_bytes())
    film.write_bytes(content[: len(content) * 3 // 4])
    found = unpack_film(film, tmp_path / "frames")
    assert found.stated == 40 and 0 < found.frames < 40


@pytest.mark.parametrize(
    ("name", "codec", "sound"), [("a.mkv", "libx264", "pcm_s16le"), ("a.webm", "libvpx", "libopus")]
)
def test_sound_that_outlasts_the_picture_is_not_taken_for_missing_frames(tmp_path, name, codec, sound):
    with av.open(str(tmp_path / name), "w") as container:
        stream, heard = container.add_stream(codec, rate=25), container.add_stream(sound, rate=48000, layout="mono")
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
        for start in range(0, 48000 * 2, 960):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 48000, start
            container.mux(heard.encode(samples))
        container.mux(heard.encode())
    assert unpack_film(tmp_path / name, tmp_path / "frames") == Film(Fraction(25), 20, 20)


@pytest.mark.parametrize(("name", "stated"), [("varying.mkv", 0), ("varying.mp4", 8)])
def test_frames_that_come_at_varying_times_have_their_mean_rate_and_none_is_missing(tmp_path, name, stated):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for time in (0, 33, 66, 500, 1000, 1033, 1066, 3000):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert unpack_film(tmp_path / name, tmp_path / "frames") == Film(Fraction(7, 3), 8, stated)
    write_film(sorted((tmp_path / "frames").glob("*.jpg")), tmp_path / "out.mp4", Fraction(7, 3))
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times[-1] - times[0] == pytest.approx(3, abs=0.01)


def test_of_a_film_that_was_trimmed_without_encoding_it_again_no_frames_are_missing(make, tmp_path):
    film = make(frames=20)
    content = bytearray(film.read_bytes())
    edit = content.index(b"elst") + 12  # one edit: how long it lasts, in ms, and where it starts
    lasting, start = struct.unpack(">Ii", content[edit : edit + 8])
    content[edit : edit + 8] = struct.pack(">Ii", lasting - 300, start + 3000)
    film.write_bytes(content)
    found = unpack_film(film, tmp_path / "frames")
    assert found.fps == NTSC and 0 < found.frames < 20 and found.stated == 0


def test_a_film_keeps_its_pace_and_an_odd_size_grows_by_one(tmp_path):
    pictures = [tmp_path / f"{number}.jpg" for number in range(6)]
    for number, path in enumerate(pictures[:5]):
        Image.new("RGB", (51, 37), (40 * number, 0, 0)).save(path)
    pictures[2].unlink()
    Image.new("RGB", (20, 20), (120, 0, 0)).save(pictures[3])
    assert write_film(pictures, tmp_path / "film.mp4", NTSC) == (52, 38)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == NTSC
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        red = [frame.to_ndarray(format="rgb24")[..., 0].mean() for frame in container.decode(video=0)]
    assert np.abs(np.subtract(red, [0, 40, 40, 120, 160, 160])).max() < 6
    with pytest.raises(UserError, match="none of its pictures"):
        write_film(pictures[5:], tmp_path / "none.mp4", NTSC)
    assert not (tmp_path / "none.mp4").exists()


def test_a_full_disk_is_said_and_leaves_no_half_film(tmp_path, monkeypatch):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")

    def full(*given):
        yield np.zeros((32, 32, 3), np.uint8)
        raise av.FFmpegError(28, "No space left on device")

    monkeypatch.setattr(films, "_arrays", full)
    with pytest.raises(UserError, match=r"film\.mp4 could not be written \(No space left on device\)"):
        write_film([tmp_path / "a.png"], tmp_path / "film.mp4", NTSC)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_one_picture_at_a_time_is_held(tmp_path, monkeypatch):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    opened, most = [], []
    real = films.Image.open

    def opening(path):
        opened.append(real(path))
        most.append(sum(1 for picture in opened if picture.fp is not None))
        return opened[-1]

    monkeypatch.setattr(films.Image, "open", opening)
    write_film([tmp_path / "a.png"] * 30, tmp_path / "film.mp4", NTSC)
    assert len(opened) == 31 and max(most) == 1


def test_names_are_ordered_by_their_numbers(tmp_path):
    names = ["b1.png", "a10.png", "a9.png", "a09b.png"]
    paths = sorted((tmp_path / name for name in names), key=in_order_of_numbers)
    assert [path.name for path in paths] == ["a9.png", "a09b.png", "a10.png", "b1.png"]


def test_films_are_known_by_their_suffix(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    assert is_film(tmp_path / "a.MOV") and not is_film(tmp_path / "a.txt") and not is_film(tmp_path / "folder.mp4")


def test_without_pyav_it_is_said_what_to_type(make, tmp_path, monkeypatch):
    film = make(frames=1)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r'pip install "segtricks\[video\]"'):
        unpack_film(film, tmp_path / "frames")
