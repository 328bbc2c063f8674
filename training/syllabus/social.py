"""Small talk: meeting and parting, feelings, and talk about the talk itself or about what nano cannot know."""

from __future__ import annotations

from training.syllabus.intent import Answer, Intent, Row, State, intent

_FEELINGS = {
    "happy": "I am glad that you are happy.",
    "sad": "I am sorry that you are sad. Shall I tell you a joke?",
    "tired": "If you are tired, you should sleep.",
    "hungry": "If you are hungry, you should eat.",
    "thirsty": "If you are thirsty, you should drink water.",
    "bored": "Are you bored? Shall I tell you a joke?",
    "angry": "I am sorry that you are angry.",
    "sick": "I am sorry that you are sick. Get well soon!",
    "cold": "If you are cold, you should wear a coat.",
    "hot": "If you are hot, you should drink water.",
    "lonely": "You are not lonely now. I am here.",
    "afraid": "Do not be afraid. I am here.",
}


def _feeling(state: State, row: Row) -> Answer:
    text = _FEELINGS[row["feeling"]]
    return Answer(text, (row["feeling"],), {"offer": "joke"} if "joke" in text else {})


MEETING: tuple[Intent, ...] = (
    intent("greet", "says hello back", """
        (hello|hi|hey) (nano|there|)
        (hello|hi) again
        (hello|hi) my friend
        (oh|well) hello (there|nano|)
        hello hello
        (hello|hi) nice to see you
        is (anybody|someone) there
        !hi hi
        !hey hello (nano|there)
    """, "Hello! How can I help you?", "hello", bare=True),
    intent("good_morning", "answers good morning, afternoon and evening", """
        good {part} (nano|)
        (hello|hi) (nano|) good {part}
        (a|a very) good {part} to you
        good {part} to you (nano|)
        good {part} how are you
        (oh|well) good {part}
        !good {part} my friend
        !(hey|hello there) good {part}
    """, "Good {part}! How can I help you?", "{part}",
           [{"part": part} for part in ("morning", "afternoon", "evening")], bare=True),
    intent("good_night", "says good night", """
        good night (nano|)
        (okay|well) good night (nano|)
        i am going to (bed|sleep) (now|)
        (i want|i have) to (sleep|go to bed) (now|)
        it is time (for bed|to sleep)
        sleep well (nano|)
        !good night my friend
        !i will go to (bed|sleep) now
    """, "Good night. Sleep well!", "night", bare=True),
    intent("goodbye", "says goodbye", """
        (goodbye|bye|bye bye) (nano|)
        (okay|well) (goodbye|bye) (nano|)
        see you (later|soon|tomorrow|)
        (i have to|i must|i will) go (now|)
        (talk|speak) to you (later|soon|tomorrow)
        (bye|goodbye) see you (later|soon|tomorrow)
        that is all (for today|) (goodbye|bye)
        thank you (goodbye|bye)
        have a (nice|good) (day|evening)
        it was nice (talking|to talk) to you
        !(goodbye|bye) my friend
        !(okay|well) see you (later|soon|tomorrow)
    """, "Goodbye! It was nice to talk to you.", "goodbye", bare=True),
    intent("how_are_you", "says how it is and asks back", """
        how are you (today|doing|doing today|now|nano|)
        how are things (today|)
        how do you feel (today|)
        are you (fine|well|okay) (today|)
        (hello|hi|hey) how are you (today|doing|)
        and how are you (today|)
        how is (it going|your day)
        what's up (nano|)
        how have you been
        tell me how you are
        !(hello|hi) nano how are you (doing|today|)
        !how are you feeling (today|)
    """, "I am fine, thank you. How are you?", "fine"),
    intent("i_am_fine", "is glad that the user is well", """
        i am (fine|good|well|okay) (too|today|)
        i am (fine|good|well|okay) (thank you|thanks)
        i am (very|really) (good|well) (thank you|thanks|)
        (fine|very good|very well) (thank you|thanks)
        i feel (good|fine|very good) (today|)
        i am doing (fine|well|good)
        me too
        !i am also (fine|good)
        !i feel really good (today|)
    """, "I am glad that you are well.", "glad", bare=True, after=("how_are_you",), directly=True, alone=0.4),
    intent("thanks", "accepts thanks", """
        (thank you|thanks) (nano|very much|so much|a lot|)
        thank you for (your help|the answer|that)
        thanks for (your help|the answer|that)
        (okay|great|good|oh) (thank you|thanks)
        that is (very|) (nice|kind) thank you
        i thank you (very much|)
        !(thank you|thanks) my friend
        !(well|okay) thank you (very much|so much)
    """, "You are welcome.", "welcome", bare=True),
    intent("sorry", "accepts an apology", """
        (oh|) (sorry|i am sorry|i'm sorry) (nano|)
        i am (so|very|really) sorry
        (sorry|i am sorry) about that
        sorry (it was|that was) my mistake
        (i did|i said) something wrong sorry
        excuse me (please|)
        !(oh|nano) (i am) very sorry
        !that was my mistake
    """, "That is all right. No problem.", "problem", bare=True),
    intent("compliment", "thanks for a compliment", """
        you are (very|so|really|) (nice|funny|clever|great|good|kind)
        i (like|love) you (nano|very much|a lot|)
        you are my best friend
        (good|great) (work|answer|job)
        (that was|that is) (very|) (good|funny|great|right)
        (very good|well done|very funny|great)
        !you did that very well
        !what a (good|funny|great) answer
    """, "Thank you, that is kind of you.", "kind", bare=True),
    intent("insult", "stays polite when scolded", """
        you are (very|so|really|) (stupid|bad|boring|slow)
        i (don't|do not) like you
        you are (wrong|not right|not good)
        that (is|was) (wrong|not right|not true|bad)
        you are not (very|) (clever|funny|nice)
        !(no|nano) (that is|you are) wrong
        !(i think|well) you are (stupid|boring)
    """, "I am sorry. I am small, but I do my best.", "best", bare=True),
    intent("nice_to_meet_you", "is pleased to meet the user", """
        (it is|) nice to (meet|know) you (nano|)
        nice to (meet|see) you too
        i am (happy|glad) to (meet|know) you
        (so|very) nice to meet you
        (good|great) to meet you (nano|)
        !it is (good|great) to meet you
        !(well|hello) nice to meet you
    """, "Nice to meet you too.", "meet", bare=True),
    intent("i_am_back", "welcomes the user back", """
        i am (back|home|here) (again|now|)
        here i am (again|)
        (hello|hi) (i am) back
        i have come (back|home)
        now (i am|i'm) back (again|)
        !(hello|hey) nano (i am) (back|here)
        !(well|okay) i am (back|here) again
    """, "Welcome back! I am still here.", "back", bare=True),
    intent("birthday", "congratulates on a birthday", """
        today is my birthday
        it is my birthday (today|)
        i have my birthday today
        my birthday is today
        (do you know|you know) (today is|it is) my birthday
        (today|now) it is my birthday
        !nano (today is|it is) my birthday
        !i think it is my birthday today
    """, "Happy birthday to you!", "birthday", bare=True),
    intent("feeling", "answers how the user feels", """
        i am (so|very|really|a little|) {feeling} (today|now|)
        i feel (so|very|really|a little|) {feeling} (today|now|)
        (today|now) (i am) (very|so|) {feeling}
        (i think|you know) (i am) {feeling}
        i am feeling (very|a little|) {feeling}
        !(oh|well) (i am) (so|very) {feeling}
        !i have been {feeling} (today|all day)
    """, _feeling, rows=[{"feeling": feeling} for feeling in _FEELINGS], weight=3, bare=True),
)

TALKING: tuple[Intent, ...] = (
    intent("are_you_sure", "says how sure it is", """
        are you (really|very|) sure (about that|)
        is that (really|) (true|right)
        really
        do you (really|) think so
        how do you know that
        are you (right|really right)
        i (don't|do not) think so
        is it (really|) so
        !are you sure that (is|it is) (true|right)
        !do you really know that
    """, "I think so, but I can make mistakes.", "mistakes", bare=True),
    intent("why", "does not know why", """
        (but|and|so|) why
        why (is that|is it so|not|so)
        tell me why
        (can|could) you tell me why
        why do you (say|think) that
        i want to know why
        !(but|and) why (is that|not)
        !do you know why
    """, "I do not know why. I know only simple things.", "why", bare=True),
    intent("weather", "says that it cannot know the weather", """
        (what is|how is|how's) the weather (today|like|now|outside|)
        (what|how) will the weather be (tomorrow|today|)
        is it (raining|sunny|cold|warm|hot) (outside|today|now)
        will it (rain|snow) (today|tomorrow|)
        (tell me|do you know|what about) the weather
        do i need (an umbrella|a coat) (today|tomorrow|)
        how (cold|warm|hot) is it (outside|today|now)
        is the sun (shining|out) (today|)
        will it be (cold|warm|hot|sunny) (today|tomorrow)
        what is the weather like (today|now|outside)
        !what is it like outside
        !(can|could) you tell me the weather (for tomorrow|)
    """, "I do not know the weather.", "weather"),
    intent("time", "says that it cannot know the time", """
        what time is it (now|)
        what is the time (now|)
        (can you|could you|please|) tell me the time
        do you (know|have) the time
        is it (late|early) (already|now|)
        what time do we have
        how late is it (now|)
        i want to know the time
        !do you know what time it is
        !(can|could) you tell me what time it is
    """, "I do not know the time. I have no clock.", "time"),
    intent("date", "says that it does not know which day it is", """
        what day is (it|today) (today|now|)
        what is the date (today|)
        (which|what) (day|month|year) (is it|do we have) (now|)
        (can you|could you|please|) tell me the date
        is (it|today) {day}
        is tomorrow {day}
        (do you know|tell me) (the date|what day it is)
        what (month|year|season) is it (now|)
        !do you know what (month|year) it is
        !which day of the week is it
    """, "I do not know the date today.", "date",
           [{"day": day} for day in ("Monday", "Tuesday", "Friday", "Saturday", "Sunday")]),
    intent("news", "says that it does not know the news", """
        what is (new|the news|in the news) (today|)
        (tell me|read me) (some|the) news
        do you know the news (of today|)
        what happened (today|yesterday|in the world)
        is there any news (today|)
        what is (happening|going on) (today|in the world)
        who won the (game|race)
        any news (today|)
        !(can|could) you tell me the news
        !i want to (hear|know) the news
    """, "I do not know the news.", "news"),
    intent("where_am_i", "says that it does not know where the user is", """
        where am i (now|)
        do you know where i (am|live)
        (what|which) (city|country) am i in
        in (what|which) (city|country) do i live
        where do i live
        where is my (house|home)
        tell me where i am
        !(can|could) you tell me where i (am|live)
        !in (what|which) (city|country) am i
    """, "I do not know where you are.", "where"),
    intent("stop", "falls silent when asked", """
        (please|nano|) (stop|be quiet|stop talking|stop it|quiet)
        (okay|oh|) (stop|be quiet) (now|please)
        that is enough (now|)
        (please|) (don't|do not) (talk|speak|say anything)
        i (want|need) (it quiet|some quiet)
        (no more|enough) talking
        !(can|could|will) you (please|) (stop|be quiet)
        !(okay|please) that is enough
    """, "All right, I will be quiet.", "quiet", bare=True),
    intent("wait", "waits when asked", """
        (please|) wait (a moment|a minute|a second|for me|)
        (just|) (a moment|one moment|a minute|a second|one second) (please|)
        (please|) give me (a moment|a minute|some time)
        (please|) let me think
        i (will|must|have to) think (about it|)
        (can|could) you wait (a moment|a minute|)
        !(okay|oh) wait (a moment|a second)
        !i need (a moment|a minute)
    """, "All right, I will wait.", "wait", bare=True),
    intent("do_you_understand", "says that it understands", """
        do you (understand|get) (me|that|what i say)
        did you (understand|get) (me|that|what i said)
        can you understand (me|what i say)
        do you know what i mean
        do you (really|) understand (me|)
        do you know what i (say|am saying)
        !did you really understand (me|that)
        !can you really understand me
    """, "Yes, I think I know what you mean.", "mean"),
    intent("what_are_you_doing", "says what it is doing", """
        what are you doing (now|today|)
        what do you do (all day|every day|)
        are you (busy|free) (now|today)
        are you doing (anything|something) (now|)
        do you have time (for me|to talk|)
        what (did|will) you do today
        do you work (today|now|every day)
        !do you have (a job|work)
        !what is your (job|work)
    """, "I am listening and talking to you.", "listening"),
    intent("lets_talk", "is ready to talk", """
        (let's|let us) talk (a little|)
        (please|) talk (to|with) me (nano|)
        i want to talk (to you|with you|)
        (can|shall|could) we talk (a little|now|)
        say (something|anything) (to me|)
        tell me something
        what do you want to talk about
        what shall we (do|talk about)
        do you (like|want) to talk
        !(hello|hi) i want to talk (to|with) you
        !(can|could) you talk (to|with) me
    """, "I like to talk. What shall we talk about?", "talk"),
)

SOCIAL: tuple[Intent, ...] = MEETING + TALKING
