"""Names that people did not choose: an adjective and something that floats or shines, as in `brisk_lantern`.

`pick` is called by `create` for a container without a name; whether a name is taken is the registry's business.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from ..errors import InvalidArgument
from ..ids import short_id

ALLOWED = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_PATTERN = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ATTEMPTS = 6

_ADJECTIVES = """
able agile airy alert amber ample apt arctic ardent astute azure balmy bold brave breezy bright brisk bronze calm
candid careful cheery civil clear clever coastal cobalt cool copper coral cosy crisp curious dapper daring dawn deft
eager early earnest easy epic exact fair famous far fearless fine firm fleet fluent fond frank free fresh friendly
frosty gallant gentle giddy glad gleaming golden grand green happy hardy hazel hearty honest humble icy ideal indigo
ivory jade jolly jovial keen kind late lean level light likely lively lofty loyal lucid lucky lunar magnetic maroon
mellow merry mighty mild misty modest mossy neat nimble noble northern oaken olive open orderly patient pearly placid
plucky polar polite prime prompt proper proud pure quick quiet radiant rapid ready regal robust rosy royal rugged safe
sandy scarlet serene sharp shiny silent silver simple sincere sleek smart smooth snug sober solar solid southern spry
stable starry stately steady stellar sterling stoic sturdy subtle sunny sure swift tall tame teal tender thrifty tidal
tidy tranquil true trusty upbeat upright valiant velvet verdant vivid warm wary wise witty worthy zealous zesty
"""

_NOUNS = """
admiral albatross anchor argosy atoll aurora ballast barge barque beacon bell berth binnacle boom bosun bow bowline
brig buoy cable canoe canvas cape captain capstan caravel catamaran channel chart clipper coracle cormorant corvette
cove coxswain crane crew current cutter davit deck delta dhow dinghy dock dolphin dory drifter dune ebb eddy estuary
fathom fender ferry fjord flagship flotilla foghorn foresail frigate galleon galley gannet gig gondola grapnel gull
gunwale halyard harbour hatch haven hawser headland heron horizon hull inlet island islet jetty jib junk kayak keel
ketch knot lagoon lamp landfall lantern lateen launch lighthouse lightship liner locker logbook longboat lugger
mainsail mariner marlin mast meridian mistral mizzen monsoon mooring narwhal navigator oar oarlock orca osprey
outrigger packet paddle pelican pennant petrel pier pilot pinnace plover porpoise porthole privateer propeller prow
puffin punt purser quay raft reef regatta rigging ripple rudder sailor sandbar schooner scow sculler seafarer seagull
seal sextant shallop shoal shore skiff skipper sloop sound spar spinnaker spray squall starboard steersman stern
stevedore strait surf swell tanker tender tern tide tiller topsail trawler trident trimaran tugboat turbine undertow
voyager wake walrus waterline wave weather whaler wharf wheelhouse winch windlass xebec yacht yawl
"""

ADJECTIVES, NOUNS = _ADJECTIVES.split(), _NOUNS.split()


def check(name: str) -> str:
    """Return the name with its slash; raise InvalidArgument where Docker does not allow it."""
    if not _PATTERN.fullmatch(name.removeprefix("/")):
        raise InvalidArgument(f"Invalid container name ({name}), only {ALLOWED} are allowed")
    return name if name.startswith("/") else f"/{name}"


def pick(container_id: str, is_taken: Callable[[str], bool]) -> str:
    """Return a free name with its slash; the short id where chance finds none."""
    for attempt in range(_ATTEMPTS):
        name = f"/{random.choice(ADJECTIVES)}_{random.choice(NOUNS)}"
        if attempt:
            name += str(random.randrange(10))
        if not is_taken(name):
            return name
    return f"/{short_id(container_id)}"
