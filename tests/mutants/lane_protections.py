"""The protections of the way to a server, what each looks like in the code, and the test that misses it."""

from mutants.protection import Protection

LANES = "tests/actors/test_lanes.py"
POOL = "tests/actors/test_fast_lane.py"
ANSWERS = "tests/actors/test_httpx_answers.py"
AHEAD = "tests/actors/test_written_ahead.py"
FORMS = "tests/actors/test_pass_forms.py"

WAYS = (
    Protection(
        "a peer that reads no more ends the exchange",
        "actors/_transport/_connection.py",
        "            self._fail(TimeoutError(",
        "            (TimeoutError(",
        (LANES, "-k", "in_time and fast"),
    ),
    Protection(
        "a connection that said too much serves no second request",
        "actors/_transport/_answer_reader.py",
        "        if self._reply is not None:\n            self.keeps_alive = False\n",
        "",
        (POOL, "-k", "more_or_less"),
    ),
    Protection(
        "what comes to an idle connection ends it",
        "actors/_transport/_connection.py",
        "        if answer is None or answer.done():\n            self.abort()\n            return\n",
        "        if answer is None or answer.done():\n            return\n",
        (POOL, "-k", "idle_connection_ends_it"),
    ),
    Protection(
        "what came to an idle connection and was not read yet is no answer to the next request",
        "actors/_transport/_fast_lane.py",
        " and connection.silent:",
        ":",
        (POOL, "-k", "not_read_yet"),
    ),
    Protection(
        "a large body goes out behind TLS",
        "actors/_transport/_connection.py",
        "high=0 if _file_beneath(self._transport) is not None else 1",
        "high=0",
        (LANES, "-k", "behind_tls and fast"),
    ),
    Protection(
        "an exchange that is given up leaves no connection",
        "actors/_transport/_fast_lane.py",
        "            if answered and connection.usable:",
        "            if connection.usable:",
        (LANES, "-k", "cancelled and fast"),
    ),
    Protection(
        "an answer of a transport is given back however it ends",
        "actors/_transport/_httpx_lane.py",
        "                await response.aclose()\n",
        "                pass\n",
        (ANSWERS, "-k", "given_back or gives_it_back"),
    ),
    Protection(
        "proxies of the environment are not passed by",
        "actors/_transport/_httpx_lane.py",
        "        if transport is None and goes_direct(base_url, local=local):",
        "        if transport is None:",
        ("tests/actors/test_httpx_requests.py", "-k", "proxy"),
    ),
    Protection(
        "an answer broken off is none",
        "actors/_transport/_answer_reader.py",
        "        if self._in_body and self._until_end:",
        "        if self._in_body:",
        ("tests/actors/test_answer_reader.py", "-k", "broken_off"),
    ),
    Protection(
        "no header smuggles another",
        "actors/_transport/_fast_lane.py",
        "            if _VALUE.fullmatch(value) is None:",
        "            if False:",
        (POOL, "-k", "smuggle"),
    ),
    Protection(
        "a form that was taken once is not doubted",
        "actors/_transport/_profile.py",
        '        if self.takes_json if form == "json" else self.takes_protobuf:\n            return False\n',
        "",
        ("tests/actors/test_drift_servers.py", "-k", "took_json_once"),
    ),
    Protection(
        "a form that was refused is not tried again",
        "actors/_training/_passes.py",
        "profile.note_pass(other.name, in_place_of=first.name)",
        "profile.note_pass(other.name)",
        (FORMS, "-k", "reads_none"),
    ),
    Protection(
        "a pause that the server tells of is not covered by the acceptance before it",
        "actors/_training/_passes.py",
        '    observe("running", None)\n    accepted(sent, request_id)\n',
        "    accepted(sent, request_id)\n",
        ("tests/actors/test_status.py", "-k", "waits_for"),
    ),
    Protection(
        "what is written ahead is called back before numbers are in question",
        "actors/_training/_pipeline.py",
        "        self._recall()\n        self._land()\n",
        "        self._land()\n",
        (AHEAD, "-k", "refused or unknown"),
    ),
    Protection(
        "what a caller calls back of it never begins",
        "actors/_training/_pipeline.py",
        "        if any(flight.send.operation is operation for flight in self._line):\n            self._recall()\n",
        "",
        (AHEAD, "-k", "cancels"),
    ),
    Protection(
        "behind a failed pass nothing begins",
        "actors/_training/_passes.py",
        "        failed()\n",
        "        pass\n",
        (AHEAD, "-k", "failed_pass"),
    ),
    Protection(
        "a late acceptance of what was given up begins nothing",
        "actors/_training/_runway.py",
        "        if self._flying is None or self._flying.send is not send:",
        "        if False:",
        ("tests/actors/test_runway.py",),
    ),
    Protection(
        "a piece of a large body waits until the one before is out of the transport's hands",
        "actors/_transport/_connection.py",
        "            while self._paused and not answer.done():",
        "            while False and not answer.done():",
        (POOL, "-k", "transport_holds"),
    ),
    Protection(
        "an answered call frees its data",
        "actors/_training/_queue_watch.py",
        "            waiting.hush()\n",
        "",
        ("tests/actors/test_answered_is_free.py",),
    ),
    Protection(
        "a transport is not closed under another lane's exchange",
        "actors/_transport/_lent_transport.py",
        "        if self._open:\n            return None\n",
        "",
        ("tests/actors/test_http_close.py", "-k", "share"),
    ),
)
