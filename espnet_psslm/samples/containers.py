"""Audio that PyAV (FFmpeg) reads: mp3, m4a, mp4, webm, ogg, and most that else holds audio.

FFmpeg gives what is there; that something is lacking it says in its log, if at all. Here whatever
is shorter than it announces is an error. What announces no length is read to its end, and whether
that is the end of the recording nobody can know: an mp3 without a length tag, a flac or webm that
was written into a pipe.
"""

import io
import struct
from itertools import groupby
from typing import BinaryIO

import numpy as np

try:
    import av
    import av.logging
except ImportError as error:
    raise ValueError("neither wav nor flac; for other kinds: pip install av") from error

# No others: some are lists of files, also on other machines; of some a cut file is not noticed.
FORMATS = (
    *("aac", "ac3", "aiff", "asf", "au", "caf", "eac3", "flac", "matroska"),
    *("mov", "mp3", "mpegts", "ogg", "tta", "w64", "wav", "wv"),
)
# Streams that may be several files, one behind the other: a packet at a seam may make no sense.
JOINED = ("aac", "ac3", "eac3", "mp3")
ESTIMATED = "Estimating duration from bitrate"  # FFmpeg's words where no length is announced,
ENDED = "File ended prematurely"  # where a webm is cut,
OTHER_KIND = "not on whitelist"  # and where a file is of none of the kinds above
# Seconds that may be lacking: encoders count what they pad, decoders do not.
SLACK_S, SLACK_EXACT_S = 0.1, 0.002
# Encoders of mp3 whose length tag says what they pad. Others may count the frame of the tag itself.
EXACT_ENCODERS = ("LAME", "Lavc", "Lavf")
UNKNOWN_BYTES = 0x7F000000  # sox announces as many for an aiff in a pipe
OGG_PAGE, LONGEST_OGG_PAGE = b"OggS", 65_307  # how a page begins; bytes

Frames = list[tuple[int, np.ndarray]]  # rate in Hz, samples (n, channels) float32


def read_container(file: BinaryIO) -> tuple[np.ndarray, int]:
    """Read the audio of a file: its best stream, if there are several.

    Args:
        file: open, seekable, at its beginning.

    Returns:
        Samples (N, channels) float32 with full scale at 1, and their rate in Hz. Where joined files
        differ, the first one decides on both.

    Raises:
        ValueError: if it is no audio, or not all of it.
    """
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)  # what the file before has said counts for this one, too
    with av.logging.Capture() as log:
        try:
            frames = _read(file, log)
        except av.FFmpegError as error:
            reason = log[-1][2].strip() if log else error.strerror
            if OTHER_KIND in reason:
                kinds = "wav, flac, mp3, m4a, mp4, webm or ogg"
                raise ValueError(f"is not audio of a kind that is read; make it {kinds}") from error
            raise ValueError(f"is not audio, or damaged or truncated ({reason})") from error
    if any(ENDED in message for _, _, message in log):
        raise ValueError("truncated, it ends within a block")
    if not frames:
        raise ValueError("holds no samples")
    return _join(frames)


def _read(file: BinaryIO, log: list[tuple[int, str, str]]) -> Frames:
    """All that can be decoded.

    Args:
        file: as :func:`read_container` takes it.
        log: where FFmpeg's messages go.
    """
    options = {"format_whitelist": ",".join(FORMATS)}
    with av.open(file, options=options) as container:
        kind = container.format.name
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            raise ValueError("holds no audio that can be decoded")
        stream.codec_context.thread_count = 1  # other threads would have logs of their own
        announced = 0.0 if any(ESTIMATED in words for _, _, words in log) else _announced(stream)
        frames, packets, bad, cut = [], 0, 0, False
        for packet in container.demux(stream):
            packets += 1
            # The last packet of a wav of unknown size counts as cut; its size has been compared.
            cut = cut or (packet.is_corrupt and kind != "wav")
            try:
                frames += [(frame.sample_rate, _samples(frame)) for frame in packet.decode()]
            except av.InvalidDataError:
                bad += 1
        found = sum(len(samples) / rate for rate, samples in frames)
        slack = _slack_s(kind, stream)
    cut = cut or ENDS_WITHIN.get(kind, lambda file: False)(file)
    if cut or found < announced - slack:
        of = f" of {announced:.2f}" if announced > found else ""
        raise ValueError(f"truncated, {found:.2f}{of} s are there")
    if bad > (1 + packets // 20 if kind in JOINED else 0):
        raise ValueError(f"damaged or truncated, {bad} of {packets} packets make no sense")
    return frames


def _announced(stream: "av.AudioStream") -> float:
    """Seconds that the file says it has; 0 if it does not say."""
    seconds = float((stream.duration or 0) * stream.time_base)
    return 0.0 if seconds * (stream.bit_rate or 0) / 8 >= UNKNOWN_BYTES else seconds


def _slack_s(kind: str, stream: "av.AudioStream") -> float:
    """Seconds that a whole file may have less than it announces."""
    if kind == "mp3":
        named = (stream.metadata.get("encoder", ""), stream.container.metadata.get("encoder", ""))
        exact = any(encoder.startswith(EXACT_ENCODERS) for encoder in named)
    else:
        exact = stream.codec_context.codec.lossless
    return SLACK_EXACT_S if exact else SLACK_S


def _samples(frame: "av.AudioFrame") -> np.ndarray:
    """(n, channels) float32, full scale at 1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(frame.samples, -1)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.integer):
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)


def _ends_within_page(file: BinaryIO) -> bool:
    """Whether the last page of an ogg file is cut; FFmpeg drops such a page."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - LONGEST_OGG_PAGE))
    end = file.read()
    page = end[max(0, end.rfind(OGG_PAGE)) :]
    if not page.startswith(OGG_PAGE):  # something else is behind it
        return False
    if len(page) < 27:  # its header, of which the last byte is the number of segments
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _ends_within_box(file: BinaryIO) -> bool:
    """Whether the media of an mp4 file are cut; of fragments FFmpeg drops the last one."""
    size, start = file.seek(0, io.SEEK_END), 0
    while start + 16 <= size:
        file.seek(start)
        length, box, long = struct.unpack(">I4sQ", file.read(16))
        length = long if length == 1 else length
        if start + length > size:
            return box in (b"mdat", b"moof")
        if length < 8:  # 0: up to the end
            return False
        start += length
    return False


ENDS_WITHIN = {"ogg": _ends_within_page, "mov,mp4,m4a,3gp,3g2,mj2": _ends_within_box}


def _join(frames: Frames) -> tuple[np.ndarray, int]:
    rate, channels = frames[0][0], frames[0][1].shape[1]
    parts = []
    for (own_rate, own_channels), group in groupby(frames, lambda f: (f[0], f[1].shape[1])):
        part = np.concatenate([samples for _, samples in group])
        if own_channels != channels:
            part = np.repeat(part.mean(axis=1, keepdims=True), channels, axis=1)
        if own_rate != rate:
            # Imported here, as where all is resampled: most files are of one rate.
            import soxr

            part = soxr.resample(part, own_rate, rate)
        parts.append(part)
    return np.concatenate(parts), rate
