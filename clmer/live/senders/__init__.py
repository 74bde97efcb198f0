"""What sends LSL streams: recordings that are played, and faces of a camera or clip.

player.py   recordings and face series, at exact times
camera.py   faces as they are filmed
"""
