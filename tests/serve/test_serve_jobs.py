"""Jobs: videos and batches in processes of their own, followed, cancelled, and deleted."""

import io
import json
import multiprocessing
import os
import signal
import zipfile
from contextlib import closing
from http.client import HTTPConnection

import numpy as np
import pytest
from PIL import Image

import toonbox
from serving import LARGE, PATIENCE, files_below, form, noise, slow_reader, wait_until
from video_files import Clip, pictures


@pytest.fixture
def clip(tmp_path):
    return Clip(size=(128, 96)).make(tmp_path / "clip.mp4").read_bytes()


def started(server, path, *files):
    answer = server.send_files(path, *files)
    assert answer.status == 202, answer.body
    told = answer.json()
    assert told["state"] == "waiting"
    assert told["url"] == f"/api/jobs/{told['id']}"
    return told


def running(server, long_clip, path="/api/jobs?stabilize=off"):
    """Start a job that takes long, and wait until it has begun."""
    job = started(server, path, ("long.mp4", long_clip))
    wait_until(lambda: server.get(job["url"]).json()["progress"].get("frames"))
    return job


def test_a_video(serve, clip, tmp_path, style_folder):
    server = serve()
    job = started(server, "/api/jobs?strength=0.5&end=0.3&stabilize=off", ("clip.mp4", clip))
    told = server.wait_for_job(job["id"])
    assert told["state"] == "done", told
    assert (told["kind"], told["name"], told["message"]) == ("video", "clip.toon.mp4", None)
    assert told["progress"]["share"] == 1
    assert 0 < told["expires"] <= 900
    answer = server.get(told["result"])
    assert answer.headers["Content-Type"] == "video/mp4"
    assert "clip.toon.mp4" in answer.headers["Content-Disposition"]
    assert len(answer.body) == told["bytes"]
    ours, theirs = tmp_path / "ours.mp4", tmp_path / "theirs.mp4"
    theirs.write_bytes(answer.body)
    toonbox.cartoonize_video(tmp_path / "clip.mp4", ours, style=style_folder, strength=0.5, end=0.3)
    np.testing.assert_array_equal(pictures(theirs), pictures(ours))
    part = server.get(told["result"], Range="bytes=0-9")
    assert (part.status, part.body) == (206, answer.body[:10])


def test_pictures_become_a_zip(serve, photo, style_folder, spool):
    server = serve()
    names = ["a.jpg", "x/a.jpg", "b.txt", "c.png", "6-a.jpg", "A.jpg"]
    files = [(name, b"text" if name == "b.txt" else photo) for name in names]
    job = started(server, "/api/jobs?quality=80", *files)
    told = server.wait_for_job(job["id"])
    assert told["state"] == "done", told
    assert (told["kind"], told["name"]) == ("pictures", "cartoons.zip")
    assert told["failures"] == [{"name": "b.txt", "message": "b.txt: is text, not a picture"}]
    assert told["progress"] == {"share": 1, "done": 6, "total": 6}
    packed = zipfile.ZipFile(io.BytesIO(server.get(told["result"]).body))
    written = ["2-a.toon.jpg", "6-6-A.toon.jpg", "6-a.toon.jpg", "a.toon.jpg", "c.toon.png"]
    assert sorted(packed.namelist()) == written
    expected = toonbox.cartoonize_bytes(photo, style=style_folder, quality=80)
    assert packed.read("a.toon.jpg") == packed.read("2-a.toon.jpg") == expected
    (kept,) = files_below(spool)
    assert kept.name == "cartoons.zip"
    assert server.ask("DELETE", job["url"]).status == 204
    assert files_below(spool) == []
    for method, path in [("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", "")]:
        gone = server.ask(method, job["url"] + path)
        assert (gone.status, gone.detail[:20]) == (404, "there is no such job")


@pytest.mark.usefixtures("isolated_here")
def test_one_picture_alone(serve, photo):
    server = serve()
    told = server.wait_for_job(started(server, "/api/jobs?format=webp", ("a.jpg", photo))["id"])
    answer = server.get(told["result"])
    assert answer.headers["Content-Type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.body)).format == "WEBP"


@pytest.mark.usefixtures("isolated_here")
def test_a_gif_becomes_a_video(serve):
    stream = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), (value, 0, 0)) for value in (0, 99, 200)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=100)
    server = serve()
    job = started(server, "/api/jobs?format=mp4&stabilize=off", ("a.gif", stream.getvalue()))
    told = server.wait_for_job(job["id"])
    assert (told["kind"], told["name"]) == ("video", "a.toon.mp4"), told


@pytest.mark.usefixtures("isolated_here")
def test_all_pictures_fail(serve):
    server = serve()
    job = started(server, "/api/jobs", ("a.jpg", b"text"), ("b.jpg", b""))
    told = server.wait_for_job(job["id"])
    assert (told["state"], told["message"]) == ("failed", "a.jpg: is text, not a picture")
    answer = server.get(f"{job['url']}/result")
    assert (answer.status, answer.detail) == (409, "a.jpg: is text, not a picture")


@pytest.mark.usefixtures("isolated_here")
def test_a_damaged_video(serve):
    server = serve()
    told = server.wait_for_job(started(server, "/api/jobs", ("a.mp4", b"text" * 99))["id"])
    assert told["state"] == "failed"
    assert told["message"].startswith("a.mp4: ")


@pytest.mark.parametrize(
    ("query", "names", "detail"),
    [
        ("", [], "the form has no files"),
        ("", ["a.mp4", "b.jpg"], "a job has one video, or pictures"),
        ("start=1", ["a.jpg"], "start is for videos, and there are none"),
        ("quality=80", ["a.mp4"], "quality is for pictures, not for videos"),
        ("max_memory=800000000", ["a.mp4"], "max_memory is for pictures, not for videos"),
        ("format=docx", ["a.jpg", "b.jpg"], "cannot write docx"),
        ("codec=divx", ["a.mp4"], "codec: Input should be 'h264'"),
        ("resume=true", ["a.mp4"], "resume: Extra inputs are not permitted"),
    ],
)
def test_refused(serve, spool, query, names, detail):
    server = serve()
    answer = server.send_files(f"/api/jobs?{query}", *((name, b"?") for name in names))
    assert answer.status in (400, 422), answer.body
    if names:
        assert detail in answer.detail
    assert files_below(spool) == []


def test_not_a_form(serve, clip):
    answer = serve().post("/api/jobs", clip)
    assert (answer.status, answer.detail) == (415, "a job's files come as multipart/form-data")


def events(server, job):
    """Follow a job to its end; give what was told."""
    with closing(HTTPConnection("127.0.0.1", server.port, PATIENCE)) as connection:
        connection.request("GET", f"{job['url']}/events")
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        text = answer.read().decode()
    parts = [dict(line.split(": ", 1) for line in part.splitlines()) for part in text.split("\n\n")]
    return [json.loads(part["data"]) for part in parts if part.get("event") == "job"]


@pytest.mark.usefixtures("isolated_here")
def test_events(serve, photo):
    server = serve()
    job = started(server, "/api/jobs", *((f"{n}.jpg", photo) for n in range(5)))
    told = events(server, job)
    assert told[-1]["state"] == "done"
    shares = [each["progress"]["share"] for each in told]
    assert shares == sorted(shares)
    assert events(server, job) == [told[-1] | {"expires": pytest.approx(900, abs=PATIENCE)}]


def test_cancelled_while_it_runs(serve, long_clip, spool):
    server = serve()
    job = running(server, long_clip)
    assert server.get(f"{job['url']}/result").detail == "the job is running"
    waiting = started(server, "/api/jobs?stabilize=off", ("second.mp4", long_clip))
    assert server.ask("DELETE", waiting["url"]).status == 204  # though the first still runs
    assert server.get(job["url"]).json()["state"] == "running"
    assert server.ask("DELETE", job["url"]).status == 204
    assert files_below(spool) == []
    assert server.get(job["url"]).status == 404
    assert b'toonbox_jobs_total{state="cancelled"} 2.0' in server.get("/metrics").body


@pytest.mark.usefixtures("isolated_here")
def test_a_job_outlives_who_has_asked_and_then_its_time(serve, photo, spool):
    server = serve(keep=0.5)
    body, kind = form(("a.jpg", photo))
    head = (
        f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with server.raw(head.encode() + body) as connection:
        assert b" 202 " in connection.recv(100)
    wait_until(lambda: b'toonbox_jobs_total{state="done"} 1.0' in server.get("/metrics").body)
    wait_until(lambda: not server.service.jobs._jobs)
    wait_until(lambda: not files_below(spool))
    assert server.service.jobs._disk == 0


def test_the_deadline_of_a_job(serve, long_clip):
    server = serve(job_deadline=0.2)
    job = started(server, "/api/jobs?stabilize=off", ("long.mp4", long_clip))
    told = server.wait_for_job(job["id"])
    assert (told["state"], told["message"]) == ("failed", "took longer than 0.2 seconds")


def test_a_crash_is_the_jobs_failure(serve, long_clip, photo):
    server = serve()
    job = running(server, long_clip)
    (child,) = multiprocessing.active_children()
    os.kill(child.pid, signal.SIGSEGV)
    told = server.wait_for_job(job["id"])
    assert told["state"] == "failed"
    assert told["message"] == "long.mp4: the process that read it has ended: SIGSEGV"
    assert server.post("/api/cartoonize", photo).status == 200
    after = server.wait_for_job(started(server, "/api/jobs", ("a.jpg", photo))["id"])
    assert after["state"] == "done"


def test_too_many_jobs(serve, long_clip):
    server = serve(max_jobs=2)
    jobs = [running(server, long_clip)]
    jobs.append(started(server, "/api/jobs", ("second.mp4", long_clip)))
    answer = server.send_files("/api/jobs", ("third.mp4", long_clip))
    assert (answer.status, answer.detail) == (429, "too many jobs are waiting")
    assert int(answer.headers["Retry-After"]) >= 1
    for job in jobs:
        server.ask("DELETE", job["url"])


@pytest.mark.usefixtures("isolated_here")
def test_limits_of_uploads(serve, photo, spool):
    server = serve(max_disk=2 * len(photo), max_files=4, max_upload=4 * len(photo))
    for files, status, detail in [
        (
            [("a.jpg", photo), ("b.jpg", photo + b"more")],
            507,
            "the jobs have no more space for uploads",
        ),
        ([("a.jpg", photo * 5)], 413, f"a body may have at most {4 * len(photo):,} bytes"),
        ([(f"{n}.jpg", b"") for n in range(5)], 413, "more than 4 files"),
    ]:
        answer = server.send_files("/api/jobs", *files)
        assert (answer.status, answer.detail) == (status, detail)
    assert server.service.jobs._disk == 0
    job = started(server, "/api/jobs?quality=1", ("a.jpg", photo))
    assert server.wait_for_job(job["id"])["state"] == "done"


@pytest.mark.usefixtures("isolated_here")
def test_a_job_of_pictures_that_has_no_room(serve, photo, spool):
    server = serve(max_disk=len(photo) + 1000)
    job = started(server, "/api/jobs?format=bmp", ("a.jpg", photo))
    told = server.wait_for_job(job["id"])
    reason = "a.jpg: the jobs have no more disk space for results (--max-disk): "
    assert (told["state"], told["message"][: len(reason)]) == ("failed", reason)
    assert told["failures"] == [{"name": "a.jpg", "message": told["message"]}]
    assert (files_below(spool), server.service.jobs._left) == ([], len(photo) + 1000)


def test_a_video_that_outgrows_the_room(serve, long_clip, spool):
    server = serve(max_disk=len(long_clip) + 1000)
    job = started(server, "/api/jobs?stabilize=off&crf=1", ("long.mp4", long_clip))
    told = server.wait_for_job(job["id"])
    reason = "the jobs have no more disk space for results (--max-disk)"
    assert (told["state"], told["message"]) == ("failed", reason)
    assert told["progress"]["share"] < 1
    assert (files_below(spool), server.service.jobs._left) == ([], len(long_clip) + 1000)


@pytest.mark.usefixtures("isolated_here")
def test_what_is_downloaded_counts_though_it_is_deleted(serve):
    server = serve(patience=PATIENCE)
    jobs = server.service.jobs
    job = started(server, "/api/jobs?format=bmp", ("a.jpg", noise(LARGE)))
    told = server.wait_for_job(job["id"])
    asked = f"GET {told['result']} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with slow_reader(server, asked.encode()) as connection:
        assert connection.recv(10)
        assert server.ask("DELETE", job["url"]).status == 204
        assert jobs._disk == told["bytes"]
    wait_until(lambda: jobs._disk == 0)


def test_the_end_of_the_server_ends_a_job(serve, long_clip):
    server = serve()
    job = running(server, long_clip)
    followed = server.raw(f"GET {job['url']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    with followed:
        assert followed.recv(10)
        server.stop()
    assert multiprocessing.active_children() == []
