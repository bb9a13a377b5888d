"""From a place as people call it to an IANA time zone."""

import re
import zoneinfo
from functools import cache

_ALIASES = {
    "Africa/Johannesburg": "south africa,cape town,durban",
    "Africa/Lagos": "nigeria",
    "America/Chicago": "dallas,houston,austin,minneapolis,cst,central time",
    "America/Denver": "mst,mountain time,salt lake city",
    "America/Los_Angeles": "san francisco,seattle,san diego,portland,california,las vegas,la,sf"
    ",pst,pdt,pacific time,silicon valley",
    "America/New_York": "boston,washington,miami,atlanta,philadelphia,nyc,est,edt,eastern time",
    "America/Sao_Paulo": "brazil,rio,rio de janeiro,são paulo",
    "America/Toronto": "ottawa,montreal,montréal",
    "America/Bogota": "bogotá,colombia",
    "America/Mexico_City": "mexico",
    "Asia/Dubai": "abu dhabi,uae",
    "Asia/Ho_Chi_Minh": "hanoi,vietnam",
    "Asia/Jakarta": "indonesia",
    "Asia/Kolkata": "india,mumbai,delhi,new delhi,bangalore,bengaluru,chennai,hyderabad,pune,ist",
    "Asia/Seoul": "korea,south korea,busan",
    "Asia/Shanghai": "china,beijing,shenzhen,guangzhou",
    "Asia/Tokyo": "japan,osaka,kyoto,jst",
    "Asia/Jerusalem": "israel,tel aviv",
    "Asia/Karachi": "pakistan,lahore,islamabad",
    "Australia/Sydney": "canberra",
    "Europe/Athens": "greece",
    "Europe/Berlin": "germany,munich,münchen,hamburg,cologne,köln,frankfurt,stuttgart,cet,cest",
    "Europe/Brussels": "belgium",
    "Europe/Copenhagen": "denmark",
    "Europe/Helsinki": "finland",
    "Europe/Istanbul": "turkey,ankara",
    "Europe/Kyiv": "ukraine,kiev",
    "Europe/Lisbon": "portugal,porto",
    "Europe/London": "uk,england,britain,great britain,united kingdom,manchester,edinburgh,bst",
    "Europe/Madrid": "spain,barcelona,valencia,seville",
    "Europe/Oslo": "norway,bergen,trondheim",
    "Europe/Paris": "france,lyon,marseille,nice",
    "Europe/Rome": "italy,milan,milano,naples,turin,florence",
    "Europe/Stockholm": "sweden,gothenburg,malmö",
    "Europe/Vienna": "austria,wien,salzburg",
    "Europe/Warsaw": "poland,krakow,kraków",
    "Europe/Zurich": "switzerland,zürich,geneva,bern,basel",
    "Europe/Amsterdam": "netherlands,holland,rotterdam,the hague",
    "Europe/Dublin": "ireland",
    "Europe/Moscow": "russia,st petersburg",
    "Pacific/Auckland": "new zealand,wellington",
    "Pacific/Honolulu": "hawaii",
    "UTC": "utc,gmt,zulu,greenwich",
}
_OFFSET = re.compile(r"(?:utc|gmt)\s*([+-]\s*\d{1,2}(?::?\d{2})?)")


def zone_of(place: str) -> str | None:
    """The zone of a city, country, abbreviation, offset or IANA name; None where unknown."""
    wanted = re.sub(r"\s+", " ", place.strip(" .,!?'\"“”")).lower()
    wanted = re.sub(r"^the (?!hague)", "", wanted)
    if offset := _OFFSET.fullmatch(wanted):
        return "UTC" + offset[1].replace(" ", "")
    return _zones().get(wanted)


@cache
def _zones() -> dict[str, str]:
    known: dict[str, str] = {}
    for zone in sorted(zoneinfo.available_timezones()):
        if "/" in zone and not zone.startswith(("Etc/", "SystemV/", "posix/", "right/")):
            known.setdefault(zone.rpartition("/")[2].lower().replace("_", " "), zone)
        known[zone.lower()] = zone
    for zone, places in _ALIASES.items():
        known.update(dict.fromkeys(places.split(","), zone))
    return known
